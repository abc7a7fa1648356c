"""Whose a message is where libzmq does not tell, as on a Unix socket with musl (Alpine).

libzmq 4.3.5 keeps the descriptor of a connection with its messages only if it can name the other
end (stream_engine_base.cpp, init_properties) by getnameinfo(3), and musl's names no Unix socket.
So who is not known yet is taken to be at the connection that nobody is known to be at. Where there
are several of these that stays untold, but for what they have in common: their process, perhaps.
"""

from typing import Any

from rtconsole import descriptors
from rtconsole.debuglog import system

from .peers import UNKNOWN, UNTOLD, Peer, connected, connection_of, peer_of


def _connections(address: object) -> list[Peer]:
    """Return who is connected to a Unix socket of ours."""
    found = []
    release = descriptors.hold_streams()
    try:
        fds = [int(name) for name in system.listdir("/proc/self/fd")]
    except OSError:  # no /proc
        return []
    finally:
        release()
    for fd in fds:
        with connected(fd) as connection:
            try:
                if connection is not None and connection.getsockname() == address:
                    connection.getpeername()  # a listening one has none
                    found.append(fd)
            except OSError:
                pass
    return [peer for peer in map(peer_of, found) if peer.identity is not None]


class Senders:
    """Who sends on a ROUTER channel, by the identity that libzmq puts before each message."""

    def __init__(self, address: object) -> None:
        self._address = address
        self._known: dict[bytes, Peer] = {}

    def of(self, message: list[Any]) -> Peer:
        """Return who sent this; of several that nobody knows only what they have in common.

        Args:
            message: a list of ``zmq.Frame``, as received.
        """
        fd = connection_of(message[-1])
        if fd != UNTOLD:
            return peer_of(fd)
        who = message[0].bytes
        if who not in self._known or self._known[who].has_gone():
            self._known = {key: one for key, one in self._known.items() if not one.has_gone()}
            free = [one for one in _connections(self._address) if one not in self._known.values()]
            if len(free) != 1:
                return _in_common(free)
            self._known[who] = free[0]
        return self._known[who]


class Subscribers:
    """Who has subscribed on the iopub channel, which has no identities."""

    def __init__(self, address: object) -> None:
        self._address = address
        self._known: list[Peer] = []
        self._is_needed = False

    def next(self) -> Peer:
        """Return who subscribes now; of several that it could be what they have in common."""
        self._is_needed = True
        free = self._unknown()
        if not free and self._known:
            return self._known[-1]  # it subscribes to one more topic
        if len(free) != 1:
            return _in_common(free)
        self._known.append(free[0])
        return free[0]

    def may_be_there(self) -> bool:
        """Tell whether one whose connection could not be told may still be there."""
        return self._is_needed and bool(self._unknown())

    def _unknown(self) -> list[Peer]:
        self._known = [one for one in self._known if not one.has_gone()]
        return [one for one in _connections(self._address) if one not in self._known]


def _in_common(several: list[Peer]) -> Peer:
    processes = {(one.pid, one.uid) for one in several}
    return Peer(*processes.pop()) if len(processes) == 1 else UNKNOWN
