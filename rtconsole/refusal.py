"""A kernel that only says why there is none: ipykernel is missing, or its import failed.

For as long as somebody listens: what was in the way may be over when the next one comes.

The client that rang waits for an answer, and a person behind it for a reason. With zmq
perhaps not to be had, this speaks as much ZMTP 3.0 (https://rfc.zeromq.org/spec/23/, NULL
mechanism) and Jupyter protocol as it takes to answer every request with that reason.
Standard library only. CurveZMQ it does not speak: over TCP with keys the reason is in the
debug log only.
"""

import _socket
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

# Nothing of the package is imported: it may be an older one, of which the process has modules.
_CLOSED, _IS_POSIX = "closed", "posix" in sys.builtin_module_names
system: Any = sys.modules["posix" if _IS_POSIX else "nt"]
_early: Any = sys.modules.get("rtconsole.listener")  # has what gevent replaces

# Not json.dumps and json.loads, which a test of the program's may replace.
_encode, _decode = json.JSONEncoder().encode, json.JSONDecoder().decode

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_TYPES = {"shell": "ROUTER", "control": "ROUTER", "stdin": "ROUTER", "hb": "REP", "iopub": "PUB"}
_DELIMITER = b"<IDS|MSG>"
_MORE, _LONG, _COMMAND = 1, 2, 4

# Answered as if there were nothing: by an error a frontend would be kept from beginning.
_HARMLESS = {
    *("complete_request", "inspect_request", "history_request", "is_complete_request"),
    *("comm_info_request", "interrupt_request", "shutdown_request"),
}

# A client that sends more than this many bytes without ending a message is let go.
_LARGEST = 1 << 20


class _Peer:
    """One connection: what came in so far, and how far the handshake is."""

    def __init__(self, connection: _socket.socket, channel: str) -> None:
        self.socket = connection
        self.channel = channel
        self.buffer = b""
        self.greeted = False
        self.frames: list[bytes] = []
        try:
            self.identity = _identity(connection.fileno())
            connection.settimeout(1.0)
            connection.sendall(_GREETING)
        except BaseException:
            connection.close()
            raise

    def leave(self) -> None:
        """Close the connection, unless the program has, and has its own of that number."""
        fd = self.socket.detach()
        if _is_same({fd: self.identity}):
            _socket.close(fd)

    def receive(self) -> list[list[bytes]]:
        """Return the messages that are complete now.

        Raises:
            ConnectionError: the peer is gone, or does not speak the protocol.
        """
        data = self.socket.recv(65536)
        self.buffer += data
        if not data or len(self.buffer) + sum(map(len, self.frames)) > _LARGEST:
            raise ConnectionError
        if not self.greeted:
            if len(self.buffer) < len(_GREETING):
                return []
            if self.buffer[12:32].rstrip(b"\0") != b"NULL":
                raise ConnectionError
            self.buffer = self.buffer[len(_GREETING) :]
            self.greeted = True
            kind = _TYPES[self.channel].encode()
            body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
            self.socket.sendall(bytes([_COMMAND, len(body)]) + body)
        messages = []
        while (frame := self._next_frame()) is not None:
            flags, body = frame
            if flags & _COMMAND:
                continue  # READY, or a subscription: all get everything
            self.frames.append(body)
            if not flags & _MORE:
                messages.append(self.frames)
                self.frames = []
        return messages

    def _next_frame(self) -> tuple[int, bytes] | None:
        width = 8 if self.buffer[:1] and self.buffer[0] & _LONG else 1
        if len(self.buffer) < 1 + width:
            return None
        end = 1 + width + int.from_bytes(self.buffer[1 : 1 + width], "big")
        if len(self.buffer) < end:
            return None
        flags, body = self.buffer[0], self.buffer[1 + width : end]
        self.buffer = self.buffer[end:]
        return flags, body

    def send(self, frames: list[bytes]) -> None:
        data = b""
        for number, frame in enumerate(frames, start=1):
            flags = _MORE if number < len(frames) else 0
            data += bytes([flags | _LONG]) + len(frame).to_bytes(8, "big") + frame
        self.socket.sendall(data)


class _Refusal:
    """The answers."""

    def __init__(self, info: dict[str, Any], reason: str) -> None:
        self.key = info["key"].encode()
        self.reason = reason
        self.session = system.urandom(16).hex()
        self.peers: list[_Peer] = []

    def sign(self, parts: list[bytes]) -> bytes:
        return hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()

    def handle(self, peer: _Peer, frames: list[bytes]) -> None:
        if peer.channel == "hb":
            peer.send(frames)
            return
        if peer.channel not in ("shell", "control") or _DELIMITER not in frames:
            return
        start = frames.index(_DELIMITER)
        signature, *parts = frames[start + 1 : start + 6]
        if len(parts) != 4 or not hmac.compare_digest(signature, self.sign(parts)):
            return
        header, content = _decode(parts[0].decode()), _decode(parts[3].decode())
        kind = str(header["msg_type"])
        if not kind.endswith("_request"):
            return
        self.publish("status", {"execution_state": "busy"}, header)
        reply = self.reply(kind, content)
        if kind == "execute_request":
            shown = {key: reply[key] for key in ("ename", "evalue", "traceback", "rtconsole")}
            self.publish("error", shown, header)
        peer.send(self.message(kind.replace("_request", "_reply"), reply, header))
        self.publish("status", {"execution_state": "idle"}, header)

    def reply(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Return the content of the reply."""
        if kind == "kernel_info_request":
            return {
                "status": "ok",
                "protocol_version": "5.3",
                "implementation": "rtconsole",
                "implementation_version": "0",
                "language_info": {
                    "name": "python",
                    "version": sys.version.partition(" ")[0],
                    "mimetype": "text/x-python",
                    "file_extension": ".py",
                },
                "banner": f"rtconsole: no console in this process.\n{self.reason}\n",
                "help_links": [],
            }
        if kind not in _HARMLESS:  # it asks for code to run, or what only a kernel knows
            return {
                "status": "error",
                "ename": "NoConsole",
                "evalue": self.reason,
                "traceback": [f"NoConsole: {self.reason}"],
                "rtconsole": {"absent": self.reason},  # no exception that a cell raised
                "execution_count": 0,
                "user_expressions": {},
                "payload": [],
            }
        at = content.get("cursor_pos", 0)
        return {
            "status": "complete" if kind == "is_complete_request" else "ok",
            "matches": [],
            "cursor_start": at,
            "cursor_end": at,
            "metadata": {},
            "found": False,
            "data": {},
            "history": [],
            "comms": {},
            "restart": False,
        }

    def message(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> list[bytes]:
        header = {
            "msg_id": system.urandom(16).hex(),
            "session": self.session,
            "username": "kernel",
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "msg_type": kind,
            "version": "5.3",
        }
        parts = [_encode(part).encode() for part in (header, parent, {}, content)]
        return [_DELIMITER, self.sign(parts), *parts]

    def publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        for peer in list(self.peers):
            if peer.channel == "iopub" and peer.greeted:
                try:
                    peer.send([kind.encode(), *self.message(kind, content, parent)])
                except OSError:
                    self.drop(peer)

    def drop(self, peer: _Peer) -> None:
        if peer in self.peers:
            self.peers.remove(peer)
        peer.leave()


def _accepted(fd: int) -> _socket.socket:
    listening: Any = _socket.socket(fileno=fd)
    try:
        return _socket.socket(fileno=listening._accept()[0])
    finally:
        listening.detach()


def _now() -> float:
    """Return seconds, also where the program has stopped ``time``'s clock."""
    return float(system.times().elapsed) if _IS_POSIX else time.monotonic()


def _ready(fds: Iterable[int], seconds: float | None) -> set[int]:
    """Return which of these can be read, after a while at the latest."""
    if not _IS_POSIX:
        import select

        return set(select.select([*fds], [], [], seconds)[0])
    polled = _early.poll()
    for fd in fds:
        polled.register(fd, _early.POLLIN)
    return {fd for fd, _ in polled.poll(None if seconds is None else seconds * 1000)}


def _is_same(found: dict[int, tuple[int, int]]) -> bool:
    """Tell whether descriptors are what they were: a daemon closes all."""
    try:
        return all(_identity(fd) == was for fd, was in found.items())
    except OSError:
        return False


def _identity(fd: int) -> tuple[int, int]:
    """Return device and inode."""
    status = system.fstat(fd)
    return status.st_dev, status.st_ino


def serve(console: Any, reason: str, patience: float) -> None:
    """Answer on the listener's sockets until it is closed, or all who came have left again.

    Or until the program has closed descriptors of ours, as daemons do.

    Args:
        console: the :class:`rtconsole.listener.Listener`. Duplicates of its sockets are used.
            Closed, its pipe is written to.
        reason: one line for a person.
        patience: seconds that it lasts at least.
    """
    refusal = _Refusal(console.info, f"{reason} (in {sys.executable}, pid {system.getpid()})")
    stop = {console.pipe[0]} if console.pipe is not None else set()
    console.state = "refusing"
    listening: dict[int, str] = {}
    for channel, fd in console.sockets.items():
        listening[_socket.dup(fd)] = channel
    ours = {fd: _identity(fd) for fd in (*listening, *stop)}
    until, has_come = _now() + patience, False
    while refusal.peers or not has_come or _now() < until:
        is_alone = has_come and not refusal.peers
        waiting = {*ours, *(peer.socket.fileno() for peer in refusal.peers)}
        ready = _ready(waiting, max(0.0, until - _now()) if is_alone else None)
        if console.state == _CLOSED or not _is_same(ours):
            break
        for fd in stop & ready:  # of somebody who wanted to stop the parked thread
            system.read(fd, 1)
        for peer in list(refusal.peers):
            if peer.socket.fileno() in ready:
                try:
                    for frames in peer.receive():
                        refusal.handle(peer, frames)
                except Exception:  # no client of ours; or hmac is replaced, say
                    refusal.drop(peer)
        for fd in listening.keys() & ready:
            try:
                refusal.peers.append(_Peer(_accepted(fd), listening[fd]))
                has_come = True
            except OSError:
                pass  # gone again
    for fd in listening:
        if _is_same({fd: ours[fd]}):
            _socket.close(fd)
    for peer in refusal.peers:
        peer.leave()
