"""Who is at the other end of a connection: so that a client's channels are known for its own."""

import _socket
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import zmq

from rtconsole import descriptors
from rtconsole.debuglog import system


def identity(fd: int) -> tuple[int, int] | None:
    """Return what tells a connection from another one that gets its descriptor later."""
    try:
        status = system.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Peer(NamedTuple):
    """A client's process, as it was when it connected, and the connection it sent this by.

    ``None`` where that is not known.
    """

    pid: int | None = None
    uid: int | None = None
    fd: int = -1
    identity: tuple[int, int] | None = None

    def has_gone(self) -> bool:
        """Tell whether the connection is no more."""
        return self.identity is not None and identity(self.fd) != self.identity


UNKNOWN = Peer()
UNTOLD = -2  # of a message: see .untold
_UNIX = getattr(socket, "AF_UNIX", None)

_DELIMITER = b"<IDS|MSG>"
_MOST_IDENTITIES = 16  # and no search through all that somebody sends
_MOST_READS = 64  # of 64 KB: more than a connection's buffer holds
_FEW = 1000  # requests that wait, of which it is not worth counting whose they are


def connection_of(frame: Any) -> int:
    """Return the descriptor of the connection that a received frame came by, -1 if unknown.

    ``UNTOLD`` where libzmq keeps none with any frame.

    Args:
        frame: a ``zmq.Frame``; libzmq keeps the descriptor with it (zmq_msg_gets, "__fd").
    """
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError, AttributeError):
        pass
    try:
        frame.get("Socket-Type")  # which it keeps of any connection
    except (zmq.ZMQError, AttributeError):
        return -1
    return UNTOLD


def peer_of(fd: int) -> Peer:
    """Return who is at the other end: the process, where the system tells it.

    That is on Linux and for Unix sockets (unix(7), SO_PEERCRED).
    """
    option = getattr(socket, "SO_PEERCRED", None)
    with connected(fd) as connection:
        if connection is None:
            return UNKNOWN
        which = fd, identity(connection.fileno())
        if option is None or connection.family != _UNIX:
            return Peer(None, None, *which)
        try:
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, 12))
        except OSError:
            return Peer(None, None, *which)
    # 0 is a process that this one's pid namespace does not show; -1 no user of this one's
    return Peer(pid or None, uid if uid >= 0 else None, *which)


def hang_up(fd: int, address: object) -> None:
    """End a connection; a client of ZMQ's connects anew.

    Args:
        address: the channel's own, which no socket of the program's can have. What has not is
            no connection to it, any more.
    """
    with connected(fd) as connection:
        try:
            if connection is not None and connection.getsockname() == address:
                connection.shutdown(socket.SHUT_RDWR)
                # what it has sent already could still be read, and is some ten thousand messages
                for _ in range(_MOST_READS):
                    if not connection.recv(1 << 16, socket.MSG_DONTWAIT):
                        break
        except OSError:  # the other end was faster
            pass


def address_of(bound: Any) -> object:
    """Return what ``getsockname`` says of connections to a bound ZMQ socket."""
    kind, _, address = bound.last_endpoint.decode().partition("://")
    if kind == "ipc":
        return address
    ip, _, port = address.rpartition(":")
    return ip, int(port)


@contextmanager
def connected(fd: int) -> Iterator[_socket.socket | None]:
    """Hold a socket of libzmq's, which may close it at any moment; ``None`` if it is none."""
    try:
        own = descriptors.duplicate(fd)
    except OSError:  # also -1
        yield None
        return
    try:
        connection = _socket.socket(fileno=own)  # socket.socket may be who forbids sockets
    except OSError:  # it was closed, and is something else by now
        system.close(own)
        yield None
        return
    try:
        yield connection
    finally:
        connection.close()


_current: ContextVar[Peer] = ContextVar("rtconsole_peer", default=UNKNOWN)


def current() -> Peer:
    """Return whose request is being served."""
    return _current.get()


@contextmanager
def serving(peer: Peer) -> Iterator[None]:
    """Serve a request of this client in the with block."""
    token = _current.set(peer)
    try:
        yield
    finally:
        _current.reset(token)


class Clients:
    """Whose each request is, from when it is received until it is served.

    Known by its signature, which no other message has. Not by the identity of its
    connection: that is the client's choice, and it could choose another one's.
    """

    # Requests that may wait; of those before, nobody's name is known any more.
    _MOST = 10_000

    def __init__(self) -> None:
        self._peers: dict[bytes, tuple[Peer, object]] = {}

    def received(self, message: list[Any], sender: Peer, shell: object = None) -> None:
        """Note who sent ``message``, a list of ``zmq.Frame``.

        Args:
            sender: see :class:`.untold.Senders`.
            shell: the subshell it is for, ``None`` for the main one.
        """
        at = signature_at(message)
        if at:
            self._peers.setdefault(message[at].bytes, (sender, shell))
            while len(self._peers) > self._MOST:
                self._peers.pop(next(iter(self._peers)), None)

    def serve(self, message: list[Any]) -> Peer:
        """Return who sent ``message``, and forget it."""
        at = signature_at(message)
        return self._peers.pop(message[at].bytes, (UNKNOWN, None))[0] if at else UNKNOWN

    def waiting(self, *shell: object) -> int:
        """Return how many requests wait, of all or only those for one shell."""
        if not shell or len(self._peers) < _FEW:
            return len(self._peers)
        return sum(for_shell == shell[0] for _, for_shell in list(self._peers.values()))


def signature_at(message: list[Any]) -> int:
    """Return where in a Jupyter message as received its signature is, 0 if nowhere.

    It is identities, ``<IDS|MSG>``, the signature, and the rest.
    """
    for number, frame in enumerate(message[:_MOST_IDENTITIES]):
        if len(frame) == len(_DELIMITER) and frame.bytes == _DELIMITER:
            return number + 1 if number + 1 < len(message) else 0
    return 0
