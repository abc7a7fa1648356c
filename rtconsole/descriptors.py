"""A console takes no descriptor that the program may need, nor a number that it may still use:
how many are left, and placeholders at numbers that it has closed, while we open ours.

Standard library only.
"""

import errno
import os
import sys

from . import listener
from .listener import POSIX, system

TYPE_CHECKING = False  # importing `collections.abc` costs as much as all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What a kernel and its first client take is 45.
_FOR_A_KERNEL = 52

NAME = "rtconsole-placeholder"

# No number is held up to above this one (select(2) takes those below 1,024 only), nor so many.
_HIGHEST, _MOST = 512, 64

# A duplicate of ours gets this number or one above: the program hardly has so many.
_FAR = 256

_STREAMS = 2  # the highest number of a standard stream

# Milliseconds between two looks whether a number is free again, and how many.
_LOOK, _MOST_LOOKS = 1, 50


def allow_a_kernel() -> bool:
    """Tell whether the program can spare what a kernel takes."""
    return _left()[0] >= _FOR_A_KERNEL


def allowed_clients() -> int:
    """Return how many connections leave the program enough: a 32nd of its limit."""
    left, limit = _left()
    return max(0, left - min(32, max(4, limit // 32)))


def _left() -> tuple[int, int]:
    """Return how many may still be opened, and how many in all (RLIMIT_NOFILE)."""
    unknown = 1 << 30
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        folder = folder_of_descriptors(sys.platform)
        used = _calls.count() or len(system.listdir(folder))
    except (ImportError, OSError):  # Windows; no /proc
        return unknown, unknown
    return (limit - used, limit) if limit >= 0 else (unknown, unknown)


def folder_of_descriptors(platform: str) -> str:
    """Return where ``sys.platform`` lists a process's descriptors, proc(5) or fd(4)."""
    return "/proc/self/fd" if platform == "linux" else "/dev/fd"


# Where in what statx(2) tells these are.
INODE, DEVICE = slice(32, 40), slice(136, 144)


class Calls:
    """The system calls that it takes to hold numbers.

    Between any two of these another thread may run; :func:`use` others. Raise OSError.
    """

    def count(self) -> int:
        """Return how many numbers are used; 0 if that is not known.

        On Linux it is the folder's size, since 6.2 (proc(5)).
        """
        return system.stat("/proc/self/fd").st_size if sys.platform == "linux" else 0

    def used(self) -> "Iterable[int]":
        """Return the numbers that are used."""
        return map(int, system.listdir("/proc/self/fd"))

    def root(self) -> int:
        """Open a file that can neither be read nor written (open(2), O_PATH)."""
        return int(system.open("/", os.O_PATH | os.O_CLOEXEC))

    def placeholder(self) -> int:
        """Open such a file that nobody else has.

        A Python that is built to run with an old C library as well (conda's, uv's) knows of no
        memfd.
        """
        files = [system.memfd_create(NAME)] if hasattr(os, "memfd_create") else system.pipe()
        try:
            return int(system.open(f"/proc/self/fd/{files[0]}", os.O_PATH | os.O_CLOEXEC))
        finally:
            for file in files:
                system.close(file)

    def identity(self, fd: int) -> "tuple[int, int]":
        """Return a file's device and inode."""
        status = system.fstat(fd)
        return status.st_dev, status.st_ino

    def asking(self, fd: int) -> "tuple[Callable[[], Any], Any]":
        """Return what asks for a file's device and inode, and bytes that tell them then.

        These are to be asked where no handler of the program's may be called. Here nothing is.
        """
        return bool, b""

    def dup(self, fd: int) -> int:
        return int(system.dup(fd))

    def dup_above(self, fd: int, lowest: int) -> int:
        """Return a duplicate with the number ``lowest`` or above (fcntl(2))."""
        try:
            import fcntl
        except ImportError:  # Windows, where sockets have no descriptors
            return int(system.dup(fd))
        ask: Any = fcntl.fcntl
        if type(ask) is not type(len):  # the program's: it may tell the number of a stream
            from . import native

            ask = native.fcntl().fcntl
        return int(ask(fd, fcntl.F_DUPFD_CLOEXEC, lowest))

    def read(self, path: str, size: int, at: int = 0) -> bytes:
        """Return what a file holds from there on, at most ``size`` bytes of it."""
        fd = system.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return bytes(system.pread(fd, size, at))
        finally:
            system.close(fd)

    def close(self, fd: int) -> None:
        system.close(fd)


_calls = Calls()


def identity(fd: int) -> "tuple[int, int]":
    """Return device and inode of what is open there, or raise OSError."""
    return _calls.identity(fd)


def asking(fd: int) -> "tuple[Callable[[], Any], Any]":
    """See :meth:`Calls.asking`."""
    return _calls.asking(fd)


def read(path: str, size: int, at: int = 0) -> bytes:
    """See :meth:`Calls.read`."""
    return _calls.read(path, size, at)


def use(calls: Calls) -> None:
    """Hold numbers, and let go of those that are held, by these calls from now on."""
    global _calls
    _calls = calls


# Who holds numbers now, and the placeholders: device and inode of each.
_turn = vars(listener)["allocate_lock"]()
_holders: "set[object]" = set()
_held: "dict[int, tuple[int, int]]" = {}
_closed: "set[int]" = set()  # streams' numbers that the program has closed, for all we know


def hold_streams() -> "Callable[[], None]":
    """Have no new descriptor get the number of a standard stream that the program has closed.

    What it writes there would reach whoever has the number. A placeholder that can neither be
    read nor written (open(2), O_PATH) fails as a closed one does; it is held only while we open
    what stays, since a daemon relies on the numbers that it gets.

    Returns:
        A function that ends it, once nobody else holds them. May be called twice.
    """
    me = object()
    with _turn:
        _holders.add(me)
        _open_placeholders()
        for _ in range(_MOST_LOOKS):  # an import of another thread's has one, for a moment
            if _closed <= _held.keys():
                break
            vars(listener)["poll"]().poll(_LOOK)  # nobody's in greenlets, nor imported just then
            _open_placeholders()
        _closed.intersection_update(_held)  # what is missing, the program has opened

    def release() -> None:
        with _turn:
            if me in _holders:
                _holders.remove(me)
                if not _holders:
                    _close_placeholders()

    return release


def _open_placeholders() -> None:
    try:
        while hasattr(os, "O_PATH") and not _streams_are_open():
            fd = _calls.root()
            if fd > 2:
                _calls.close(fd)
                break
            _held[fd] = _calls.identity(fd)
            _closed.add(fd)
    except OSError:  # no more to be had
        pass


def _streams_are_open() -> bool:
    """Tell so without a descriptor, which a program that closes one twice might close."""
    try:
        return all(_calls.identity(fd) for fd in range(3))
    except OSError:
        return False


def hold_numbers(beyond: int = 0) -> "Callable[[], None]":
    """Likewise with any number that the program has closed: it may close it once more.

    As the object that ``os.fdopen`` made does, after ``os.close``: nobody notices, unless
    somebody else has the number by then. libzmq ends the process once one of its own is gone.
    Where the program has hundreds of descriptors, or left many numbers, it is as above.

    Args:
        beyond: so many numbers above the highest that is used are held, too.

    Returns:
        As :func:`hold_streams`.
    """
    release = hold_streams()
    if not hasattr(os, "O_PATH"):  # not on Linux
        return release
    try:
        highest = highest_to_hold(beyond)
        if highest > _STREAMS:
            with _turn:
                _hold_up_to(highest)
    except OSError:  # no more to be had
        pass
    return release


def highest_to_hold(beyond: int = 0) -> int:
    """Return up to which number :func:`hold_numbers` holds them: at least a stream's.

    Where more are free than may be held, it is as many as may be, from the lowest on, which the
    program gets first: connections that overlap go higher and higher, each above the last one,
    and a duplicate of ours is far above all.
    """
    try:
        left = _left()[0]
        used = set(_calls.used())
        highest = min(max(used) + beyond, _HIGHEST - 1)
    except (OSError, ValueError):  # no /proc
        return _STREAMS
    free, most = [fd for fd in range(highest + 1) if fd not in used], min(_MOST, left // 4)
    if len(free) >= most:
        highest = free[most - 1] - 1 if most > 0 else _STREAMS
    return max(highest, _STREAMS)


def _hold_up_to(highest: int) -> None:
    first = fd = _calls.placeholder()
    identity = _calls.identity(first)
    while fd <= highest:
        _held[fd] = identity
        fd = _calls.dup(first)
    _calls.close(fd)


def _close_placeholders() -> None:
    for fd, identity in _held.items():
        close_if_same(fd, identity)
    _held.clear()


def close_if_same(fd: int, identity: "tuple[int, int]") -> None:
    """Close a descriptor, unless the program has closed it and has its own there."""
    try:
        if _calls.identity(fd) == identity:
            _calls.close(fd)
    except OSError:
        pass


def let_go() -> None:
    """Hold nothing, whoever does."""
    with _turn:
        _holders.clear()
        _close_placeholders()


def after_fork_in_child() -> None:
    """Hold nothing: who held numbers is not here, and the program may rely on them."""
    global _turn
    _turn, was_at_it = vars(listener)["allocate_lock"](), bool(_holders)
    let_go()
    if not was_at_it:
        return
    try:
        for name in system.listdir("/proc/self/fd"):  # for those that were not noted yet
            try:
                if system.readlink(f"/proc/self/fd/{name}").startswith(f"/memfd:{NAME}"):
                    system.close(int(name))
            except OSError:  # that of the list itself
                pass
    except OSError:  # no /proc
        pass


def open_above(path: str, flags: int, mode: int = 0o777) -> int:
    """Do as ``os.open``, and return no number that the program may use, as :func:`duplicate`.

    What it writes to a stream that it has closed would be in our file; and if it closes a
    descriptor twice, that would be our file, and by the time that we close it the program's next.

    Raises:
        OSError: as ``os.open``; or the program has just put its own file in the place of ours.
    """
    release = hold_streams()
    try:
        expected = _found_at(path)  # before, since a look takes time, in which others run
        fd = int(system.open(path, flags, mode))
        return moved_above(fd, path, expected) if fd <= _STREAMS or POSIX else fd
    finally:
        release()


def moved_above(fd: int, path: str, expected: "tuple[int, int] | None" = None) -> int:
    """Return a descriptor, far from the program's, of what has just been opened at ``path``.

    ``fd`` is closed, unless the program has put another file there meanwhile: then OSError.

    Args:
        expected: device and inode of what was there before, if it is known.
    """
    moved = duplicate(fd)
    found = _calls.identity(moved)
    if found != expected and found != _found_at(path):
        _calls.close(moved)
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), path)
    close_if_same(fd, found)
    return moved


def contents(path: str) -> bytes:
    """Return what a file holds, whatever the program opens files with. Raises OSError."""
    fd = system.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return b"".join(iter(lambda: bytes(system.read(fd, 1 << 16)), b""))
    finally:
        system.close(fd)


def _found_at(path: str) -> "tuple[int, int] | None":
    try:
        status = system.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def duplicate(fd: int) -> int:
    """Do as ``os.dup``, and return no number that the program may use, not for a moment.

    What it writes to a stream that it has closed would go to whom the duplicate leads to, and
    closing a descriptor twice would close the duplicate, or what has its number next.

    Raises:
        OSError: as ``os.dup``.
    """
    try:
        return _calls.dup_above(fd, _FAR)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _calls.dup_above(fd, _STREAMS + 1)  # so many may not be opened
