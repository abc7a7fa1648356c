"""Signed messages: what is not signed with our key goes no further, and costs one HMAC.

jupyter_client's session notes every signature, also a wrong one of any length, before it looks
at it, and makes room by drawing lots from the program's ``random``.
"""

import json
from collections import deque
from hmac import compare_digest
from typing import Any

import zmq
from jupyter_client import session
from jupyter_client.jsonutil import json_clean, json_default
from jupyter_client.session import Session as JupyterSession

from .peers import signature_at

_PARTS = 4  # of a message that are signed: header, parent header, metadata, content


_encode = json.JSONEncoder(default=json_default, ensure_ascii=False, allow_nan=False).encode
_decode = json.JSONDecoder().decode


def _packed(part: Any) -> bytes:
    """As jupyter_client's, without ``json.dumps``, which a test of the program's may replace."""
    try:
        return _encode(part).encode("utf-8", "surrogateescape")
    except (TypeError, ValueError):  # it has to be made fit for JSON first; nobody is warned
        return _encode(json_clean(part)).encode("utf-8", "surrogateescape")


def _unpacked(part: bytes | str) -> Any:
    """Likewise, without ``json.loads``."""
    return _decode(part.decode("utf-8", "replace") if isinstance(part, bytes) else part)


class Session(JupyterSession):
    """A session that lets only its own clients in, each message once.

    Attributes:
        strangers: how many messages were not let in.
    """

    def __init__(self, **traits: Any) -> None:
        if not session.has_orjson:
            traits = {"pack": _packed, "unpack": _unpacked, **traits}
        super().__init__(**traits)
        self._oldest: deque[bytes] = deque()
        self.strangers = 0

    def is_ours(self, message: list[Any]) -> bool:
        """Tell whether a message as received (a list of ``zmq.Frame``) has our signature."""
        at = signature_at(message)
        parts = [frame.buffer for frame in message[at + 1 : at + 1 + _PARTS]]
        if at and len(parts) == _PARTS and compare_digest(message[at].bytes, self.sign(parts)):
            return True
        self.strangers += 1
        return False

    def recv(
        self, socket: Any, mode: int = zmq.NOBLOCK, content: bool = True, copy: bool = True
    ) -> tuple[Any, Any]:
        """As the original; what is not ours is as nothing. It is how answers to cells are read."""
        try:
            message = socket.recv_multipart(mode, copy=False)
        except zmq.Again:
            return None, None
        if not self.is_ours(message):
            return None, None
        identities, parts = self.feed_identities(message, copy=False)
        return identities, self.deserialize(parts, content=content, copy=False)

    def _add_digest(self, signature: bytes) -> None:
        """Note a signature; the oldest are forgotten. The original draws lots for that."""
        self.digest_history.add(signature)
        self._oldest.append(signature)
        while len(self._oldest) > self.digest_history_size:
            self.digest_history.discard(self._oldest.popleft())
