"""Output on its way: pieces of it, joined and cut into what fits a stream message."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# No message is larger than this, in bytes of its JSON text.
LARGEST = 950_000
# Text is cut into so many bytes: as much as a fast flood has in a window. It fits, unless it is
# hardly anything but what JSON has to escape; how much is not looked for, which would be as dear
# as to make the message. Larger ones would fill libzmq's queue, which counts messages.
_CUT = 1 << 18


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
    """Yield ``text`` in pieces that hardly need to be split any more, as UTF-8 can have it.

    Lone surrogates, legal in a str, have no UTF-8: they become escapes.
    """
    length = _CUT
    if not text.isascii():
        encoded = text.encode("utf-8", "backslashreplace")
        text = encoded.decode()
        length = max(1, _CUT * len(text) // len(encoded))
    for at in range(0, len(text), length):
        yield text[at : at + length]


def dropped(lines: int) -> str:
    """Return the line that says how much is missing."""
    return f"[rtconsole: {lines:,} lines dropped]\n"
