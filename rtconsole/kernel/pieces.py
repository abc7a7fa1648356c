"""Output on its way: pieces of it, joined and cut into what fits a stream message."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# No message is larger than this, in bytes of its JSON text.
LARGEST = 950_000
# Of this many characters the JSON text is never larger: at most six bytes each (\u0000).
_ALWAYS_FITS = LARGEST // 6

_CONTROL = bytes(c for c in range(32) if c not in b"\t\n\r")


class Text(NamedTuple):
    """A piece of output.

    Attributes:
        stream: ``stdout`` or ``stderr``.
        parent: header of the request it belongs to; ``None`` if it is the program's.
        metadata: of the message.
    """

    stream: str
    text: str
    parent: dict[str, Any] | None
    metadata: dict[str, Any]


class Piece(NamedTuple):
    """Output of the program; ``thread`` is the name of who wrote it, if that is known."""

    stream: str
    thread: str | None
    text: str

    def metadata(self, **more: Any) -> dict[str, Any]:
        return {"rtconsole": {"origin": "program", "thread": self.thread, **more}}


class Tail(NamedTuple):
    """A cell in which the program's output is shown.

    Attributes:
        process: pid of its client, if that is known.
        choose: returns what is shown of a piece.
    """

    parent: dict[str, Any]
    process: int | None
    choose: Callable[[Piece], str]


def by_stream(pieces: list[Piece]) -> list[Piece]:
    """Join pieces of several threads: a flood is one message a window for each stream."""
    joined = []
    for stream in dict.fromkeys(piece.stream for piece in pieces):
        own = [piece for piece in pieces if piece.stream == stream]
        names = list(dict.fromkeys(piece.thread for piece in own if piece.thread))
        text = "".join(piece.text for piece in own)
        joined.append(Piece(stream, ", ".join(names[:8]) or None, text))
    return joined


def split(text: str) -> Iterator[str]:
    """Yield ``text`` in pieces of which each fits into a message, as UTF-8 can have it.

    Lone surrogates, legal in a str, have no UTF-8: they become escapes.
    """
    if not text:
        return
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > _ALWAYS_FITS:
        encoded = text.encode()
        # escaped: control characters six bytes; line ends, quotes, backslashes two
        control = len(encoded) - len(encoded.translate(None, _CONTROL))
        two = sum(encoded.count(c) for c in (b"\n", b"\r", b"\t", b'"', b"\\"))
        if len(encoded) + two + 5 * control > LARGEST:
            for at in range(0, len(text), _ALWAYS_FITS):
                yield text[at : at + _ALWAYS_FITS]
            return
    yield text


def dropped(lines: int) -> str:
    """Return the line that says how much is missing."""
    return f"[rtconsole: {lines:,} lines dropped]\n"
