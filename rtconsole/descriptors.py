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

_NAME = "rtconsole-placeholder"

# No number is held up to above this one (select(2) takes those below 1,024 only), nor so many.
_HIGHEST, _MOST = 512, 64


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
    return _hold(2)


def hold_numbers(beyond: int = 0) -> "Callable[[], None]":
    """Likewise with any number that the program has closed: it may close it once more.

    As the object that ``os.fdopen`` made does, after ``os.close``: nobody notices, unless
    somebody else has the number by then. libzmq ends the process once one of its own is gone.
    Where the program has hundreds of descriptors, or left many numbers, it is as above.

    Args:
        beyond: so many numbers above the highest that is used are held, too.
    """
    try:
        left, used = _left()[0], {int(name) for name in os.listdir("/proc/self/fd")}
        highest = max(used) + beyond
        missing = highest + 1 - len(used)
        return _hold(highest if highest < _HIGHEST and missing < min(_MOST, left // 4) else 2)
    except (OSError, ValueError):
        return _hold(2)


def _hold(highest: int) -> "Callable[[], None]":
    held: dict[int, tuple[int, int]] = {}
    _holding[id(held)] = held
    try:
        while hasattr(os, "O_PATH"):
            fd = os.dup(next(iter(held))) if held else _placeholder()
            if fd > highest:
                os.close(fd)
                break
            status = os.fstat(fd)
            held[fd] = status.st_dev, status.st_ino
    except OSError:  # no more to be had
        pass

    def release() -> None:
        _let_go(held)
        _holding.pop(id(held), None)

    return release


def _placeholder() -> int:
    """Open something that nobody else has, and can neither be read nor written."""
    flags = os.O_PATH | os.O_CLOEXEC
    try:
        memory = os.memfd_create(_NAME)
    except (AttributeError, OSError):
        return os.open("/", flags)
    try:
        return os.open(f"/proc/self/fd/{memory}", flags)
    except OSError:  # no /proc
        return os.open("/", flags)
    finally:
        os.close(memory)


def _let_go(held: "dict[int, tuple[int, int]]") -> None:
    for fd, identity in held.items():
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == identity:
                os.close(fd)
        except OSError:  # the program has closed it
            pass
    held.clear()


def after_fork_in_child() -> None:
    """Let go of what was held when the process was forked, noted or not yet."""
    if not _holding:
        return
    for held in _holding.values():
        _let_go(held)
    _holding.clear()
    try:
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith(f"/memfd:{_NAME}"):
                    os.close(int(name))
            except OSError:  # that of the list itself
                pass
    except OSError:  # no /proc
        pass


# What is held just now, by whichever thread: descriptors, and the device and inode of each.
_holding: "dict[int, dict[int, tuple[int, int]]]" = {}
