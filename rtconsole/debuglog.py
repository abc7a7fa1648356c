"""The debug log: ``RTCONSOLE_DEBUG=/path/to/log`` gets a line on what happened and why.

We are a guest in the process, so this is the only place where a fault of ours is told.
Writing never raises, and waits for nobody who may wait for us; without the variable it does
nothing. Standard library only: it is used while the interpreter starts.
"""

import os
import stat
import sys
from _thread import get_ident

system = sys.modules[os.name]  # os in C, in which greenlets' libraries replace nothing
_POSIX, _SYSTEM = os.name == "posix", (os.name, sys.platform)
_writing: "set[tuple[int, int]]" = set()  # process and thread


def note(message: str, error: BaseException | None = None) -> None:
    """Append ``message`` (and the traceback of ``error``) to the debug log, in one write."""
    path = os.environ.get("RTCONSOLE_DEBUG")
    if not path or sys.flags.ignore_environment:
        return
    me = system.getpid(), get_ident()
    if me in _writing:  # in a signal's handler: what it would wait for is held by this thread
        return
    _writing.add(me)
    try:
        import time

        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = f"{stamp} pid {system.getpid()}: {message}\n"
        if error is not None and (os.name, sys.platform) != _SYSTEM:
            # A test's doing: what is imported meanwhile is another platform's for good, as pathlib
            text += f"{type(error).__name__}: {error}\n"
        elif error is not None:
            import traceback

            text += "".join(traceback.format_exception(error))
        fd = open_to_append(path)
        try:
            system.write(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            system.close(fd)
    except Exception:  # protects the program: a log that cannot be written is no reason to fail
        pass
    finally:
        _writing.discard(me)


def open_to_append(path: str) -> int:
    """Open a log, made 0600 if need be; its descriptor is no standard stream's.

    Raises:
        OSError: it cannot be opened; or somebody else has put it there: to read it, or as a second
            name of a file of ours.
    """
    # O_NOFOLLOW: a link planted in a shared folder must not lead to somebody's file;
    # O_NONBLOCK: a pipe that nobody reads must not hold the program up
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = _open_above(path, flags)
    try:
        found = system.fstat(fd)
        if _POSIX and found.st_uid not in (0, system.geteuid()):
            raise OSError("it belongs to another user")
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise OSError("it has a second name")
    except OSError:
        system.close(fd)
        raise
    return fd


def _open_above(path: str, flags: int) -> int:
    """See :func:`rtconsole.descriptors.open_above`, which a usual start does not import."""
    are_open = _streams_are_open()
    fd = int(system.open(path, flags, 0o600)) if are_open else -1
    if fd > 2:
        return fd
    from . import descriptors

    if not are_open:
        return descriptors.open_above(path, flags, 0o600)
    return descriptors.moved_above(fd, path)  # the program has just closed one


def _streams_are_open() -> bool:
    try:
        return all(system.fstat(fd) for fd in range(3))
    except OSError:
        return False
