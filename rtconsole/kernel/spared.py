"""The kernel's own descriptors, which a cell that closes all of them does not mean.

libzmq ends the process by abort() once one of its own is gone (4.3.5, signaler.cpp, epoll.cpp).
So a cell's ``os.close`` and ``os.closerange`` pass these over, as if they were not open. The
program's own do not: nothing it calls may differ.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rtconsole import descriptors
from rtconsole.debuglog import system

from .peers import connected

# What libzmq and event loops make, eventfd(2), epoll(7) and sockets; a listener's pipe.
_KINDS = ("anon_inode:[event", "socket:[", "pipe:[")


class Spared:
    """Which descriptors are the kernel's. May be used from any thread."""

    def __init__(self, endpoints: set[object], *also: int) -> None:
        """
        Args:
            endpoints: the addresses of the channels, as ``getsockname`` tells them.
            also: descriptors that are ours from before.
        """
        self._endpoints = endpoints
        self._kinds = {fd: _kind(fd) for fd in also}

    @contextmanager
    def opening(self, beyond: int = 0) -> Iterator[None]:
        """Take descriptors that are opened in the with block for the kernel's.

        Those of other threads in that time, too: to spare one too many is no harm.

        Args:
            beyond: see :func:`rtconsole.descriptors.hold_numbers`.
        """
        release, before = descriptors.hold_numbers(beyond), _open()
        try:
            yield
        finally:
            release()
            for fd, kind in _open().items():
                if fd not in before and kind.startswith(_KINDS):
                    self._kinds[fd] = kind

    def __contains__(self, fd: object) -> bool:
        """Tell whether a descriptor is the kernel's: its number may be the program's by now."""
        if not isinstance(fd, int):
            return False
        kind = _kind(fd)
        if not kind.startswith(_KINDS):
            return False
        if self._kinds.get(fd) == kind:
            return True
        return kind.startswith("socket:") and self._is_of_a_channel(fd)

    def _is_of_a_channel(self, fd: int) -> bool:
        """Tell whether it listens for clients, or was accepted from one."""
        with connected(fd) as sock, suppress(OSError, TypeError):
            return sock is not None and sock.getsockname() in self._endpoints
        return False

    # -- what a cell finds in ``os`` ---------------------------------------------------

    def close(self, original: Callable[[int], None], fd: Any) -> None:
        """Close a descriptor; one of the kernel's is not open."""
        if fd in self:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        original(fd)

    def closerange(self, original: Callable[[int, int], None], low: int, high: int) -> None:
        """Close a range of descriptors, but for the kernel's."""
        for fd in sorted(fd for fd in _open() if low <= fd < high and fd in self):
            original(low, fd)
            low = fd + 1
        original(low, high)


def _open() -> dict[int, str]:
    """Return the open descriptors and what each is; not that of the look itself."""
    try:
        found = {fd: _kind(fd) for fd in map(int, system.listdir("/proc/self/fd"))}
    except OSError:  # not on Linux: nothing is spared
        return {}
    return {fd: kind for fd, kind in found.items() if kind}


def _kind(fd: int) -> str:
    try:
        return str(system.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        return ""


def endpoints_of(info: dict[str, Any]) -> set[object]:
    """Return the addresses that a connection file names, as ``getsockname`` tells them."""
    ports = [port for name, port in info.items() if name.endswith("_port")]
    if info["transport"] == "tcp":
        return {(info["ip"], port) for port in ports}
    return {f"{info['ip']}-{port}" for port in ports}
