"""How many descriptors the program has left: a console takes none that it may need.

Standard library only.
"""

import os
import sys

TYPE_CHECKING = False  # importing `collections.abc` costs as much as all of this module
if TYPE_CHECKING:
    from collections.abc import Callable

# What a kernel and its first client take is 45.
_FOR_A_KERNEL = 52


def allow_a_kernel() -> bool:
    """Tell whether the program can spare what a kernel takes."""
    return _left()[0] >= _FOR_A_KERNEL


def allow_a_client() -> bool:
    """Tell whether another connection leaves the program enough: a 32nd of its limit."""
    left, limit = _left()
    return left > min(32, max(4, limit // 32))


def _left() -> tuple[int, int]:
    """Return how many may still be opened, and how many in all (RLIMIT_NOFILE)."""
    unknown = 1 << 30
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # proc(5): its size is the number of entries since Linux 6.2, and 0 before
        folder = folder_of_descriptors(sys.platform)
        used = os.stat(folder).st_size if sys.platform == "linux" else 0
        used = used or len(os.listdir(folder))
    except (ImportError, OSError):  # Windows; no /proc
        return unknown, unknown
    return (limit - used, limit) if limit >= 0 else (unknown, unknown)


def folder_of_descriptors(platform: str) -> str:
    """Return where ``sys.platform`` lists a process's descriptors, proc(5) or fd(4)."""
    return "/proc/self/fd" if platform == "linux" else "/dev/fd"


def hold_streams() -> "Callable[[], None]":
    """Have no new descriptor get the number of a standard stream that the program has closed.

    What it writes there would reach whoever has the number. A placeholder that can neither be
    read nor written (open(2), O_PATH) fails as a closed one does; it is held only while we open
    what stays, since a daemon relies on the numbers that it gets.

    Returns:
        A function that ends it.
    """
    held: dict[int, tuple[int, int]] = {}
    try:
        while hasattr(os, "O_PATH"):
            fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
            if fd > 2:
                os.close(fd)
                break
            status = os.fstat(fd)
            held[fd] = status.st_dev, status.st_ino
    except OSError:  # no more to be had
        pass

    def release() -> None:
        for fd, identity in held.items():
            try:
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == identity:
                    os.close(fd)
            except OSError:
                pass
        held.clear()

    return release
