"""ZMTP and the Jupyter protocol by hand, for what no client would send.

https://rfc.zeromq.org/spec/23/ (ZMTP 3.0, NULL mechanism) and
https://jupyter-client.readthedocs.io/en/stable/messaging.html.
"""

import hashlib
import hmac
import itertools
import json
import socket
from collections.abc import Iterable, Sequence
from typing import Any

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")

# What a client's socket is on each channel.
KINDS = {"shell": b"DEALER", "iopub": b"SUB", "stdin": b"DEALER", "control": b"DEALER"}

MORE, LONG, COMMAND = 1, 2, 4
DELIMITER = b"<IDS|MSG>"

_numbers = itertools.count()


def connect(info: dict[str, Any], channel: str, patience: float = 10.0) -> socket.socket:
    """Return a connection to a channel, on which nothing was said."""
    if info["transport"] == "tcp":
        address = (info["ip"], info[f"{channel}_port"])
        return socket.create_connection(address, timeout=patience)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(patience)
    sock.connect(f"{info['ip']}-{info[f'{channel}_port']}")
    return sock


def greeting(mechanism: bytes = b"NULL", as_server: bool = False) -> bytes:
    start = b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0")
    return start + bytes([as_server]) + bytes(31)


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) > 255:
        return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def ready(kind: bytes, identity: bytes = b"") -> bytes:
    """Return the command that ends the handshake of the NULL mechanism."""
    properties = {b"Socket-Type": kind, b"Identity": identity}
    body = b"\x05READY" + b"".join(
        bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
        for name, value in properties.items()
    )
    return frame(body, COMMAND)


def handshake(channel: str) -> bytes:
    """Return all that a client says until it may send messages."""
    return greeting() + ready(KINDS.get(channel, b"DEALER"))


def shake_hands(sock: socket.socket, channel: str) -> None:
    """Go through the handshake: who sends a message before it is over is turned away."""
    sock.sendall(handshake(channel))
    _exactly(sock, len(greeting()))
    _exactly(sock, _exactly(sock, 2)[1])  # READY


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError("turned away")
        data += more
    return data


def multipart(frames: Sequence[bytes]) -> bytes:
    """Return a message of several frames."""
    last = len(frames) - 1
    return b"".join(frame(f, MORE if n < last else 0) for n, f in enumerate(frames))


def signature(key: str, parts: Iterable[bytes]) -> bytes:
    """Return what signs the four parts of a message, hmac-sha256."""
    return hmac.new(key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()


def request(key: str, kind: str, content: Any, **header: Any) -> list[bytes]:
    """Return a message as a client with ``key`` sends it, each with an id of its own."""
    full = {
        "msg_id": f"hostile-{next(_numbers)}",
        "msg_type": kind,
        "session": "hostile",
        "username": "nobody",
        "date": "2020-01-01T00:00:00Z",
        "version": "5.3",
        **header,
    }
    return signed(key, [json.dumps(part).encode() for part in (full, {}, {}, content)])


def signed(key: str, parts: list[bytes], buffers: Iterable[bytes] = ()) -> list[bytes]:
    return [DELIMITER, signature(key, parts), *parts, *buffers]
