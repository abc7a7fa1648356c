"""A child that was forked beside a running kernel, and what it must not keep of that.

Standard library only.
"""

import _socket
import os
import stat
import sys
from _thread import get_ident

from .listener import system

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

# Where there is no list of a process's descriptors (a chroot), those below are looked at.
_LIKELY = 1024


def close_sockets(info: "dict[str, Any]") -> None:
    """Close libzmq's sockets: those whose own address is one of a connection file's.

    It holds duplicates of our listening sockets, and one for each client that it accepted,
    which has the same address. No socket of the program's can have it. While the child had
    them too, a client would not notice its kernel's end, nor anybody that nobody listens.
    """
    from .listener import CHANNELS

    separate = info["transport"] == "tcp"
    ports = [info[f"{channel}_port"] for channel in CHANNELS]
    ours = {(info["ip"], port) if separate else f"{info['ip']}-{port}" for port in ports}
    # With a default timeout the object made of a socket would make the socket non-blocking,
    # for the parent too. No other thread is here.
    timeout = _socket.getdefaulttimeout()
    _socket.setdefaulttimeout(None)
    try:
        for fd in _descriptors():
            try:
                if stat.S_ISSOCK(system.fstat(fd).st_mode) and _address(fd) in ours:
                    system.close(fd)  # gevent's puts it off
            except OSError:  # closed, or a socket of a kind that has no address
                pass
    finally:
        _socket.setdefaulttimeout(timeout)


def _descriptors() -> "list[int]":
    try:
        return [int(name) for name in system.listdir("/dev/fd")]
    except OSError:
        return list(range(_LIKELY))


def _address(fd: int) -> object:
    sock = _socket.socket(fileno=fd)
    try:
        return sock.getsockname()
    finally:
        sock.detach()


def forget_imports(threads: "set[int]") -> None:
    """Let modules be imported anew that threads which are not here were importing.

    Else who imports one waits for ever: the child inherits the module's lock, and not its
    owner. (Python leaves it so for threads of the program's own, and so do we.)
    """
    from importlib import _bootstrap

    bootstrap: Any = _bootstrap
    for name, reference in list(bootstrap._module_locks.items()):
        lock = reference()
        if lock is not None and lock.owner in threads - {get_ident()}:  # a cell that forked
            del bootstrap._module_locks[name]
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if getattr(spec, "_initializing", False):
                del sys.modules[name]


class _End:
    """Ends the console with the thread in whose locals this is."""

    def __init__(self) -> None:
        from . import lifecycle, listener  # now: at the end is no time for it

        self._lifecycle: Any = lifecycle
        self._listener: Any = listener

    def __del__(self) -> None:
        try:
            found = self._listener.current
            if found is None or found.info["rtconsole"]["pid"] != system.getpid():
                return
            if found.state == self._listener.PARKED:
                self._lifecycle.stop()
            elif found.kernel is not None and found.kernel.is_left_alone():
                found.forget_file()
                os._exit(0)
        except Exception as error:  # protects the program's end
            self._listener.note("a child's only thread ends", error)


_locals: "Any" = None


def end_with_this_thread() -> None:
    """Close the console when this thread ends: one of the program's, which has forked.

    No interpreter ends then, but the process does, with its last thread and status 0
    (pthread_exit(3)): which must not be ours.
    """
    global _locals
    import _thread

    _locals = vars(_thread)["_local"]()
    _locals.end = _End()
