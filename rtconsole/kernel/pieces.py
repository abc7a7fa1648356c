"""Output on its way: pieces of it, joined and cut into what fits a stream message."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# No message is larger than this, in bytes of its JSON text.
LARGEST = 950_000
# Text is cut into so many bytes: as much as a fast flood has in a window. It fits, unless it is
# hardly anything but what JSON has to escape; how much is not looked for, which would be as dear
# as to make the message. Larger ones would fill libzmq's queue, which counts messages.
CUT = 1 << 19

# Items are taken as they are up to here; of more, how long they are is told by so many.
_FEW, _SAMPLE = 1000, 64


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


class Lines(NamedTuple):
    """The lines of a text: how many end in it, and whether the last one does."""

    stream: str
    ends: int
    is_whole: bool

    @classmethod
    def of(cls, stream: str, text: str) -> "Lines":
        return cls(stream, text.count("\n"), text.endswith("\n"))


class Loss:
    """Counts the lines of which something was dropped; each once, whatever it was cut into.

    Attributes:
        lines: those that nobody was told of yet.
    """

    def __init__(self) -> None:
        self.lines = 0
        self._cut: set[str] = set()  # streams whose last line was counted, and has not ended

    def add(self, dropped: Lines) -> None:
        """Count what is dropped."""
        self.lines += dropped.ends + (not dropped.is_whole) - (dropped.stream in self._cut)
        self._cut.discard(dropped.stream)
        if not dropped.is_whole:
            self._cut.add(dropped.stream)

    @property
    def is_amid(self) -> bool:
        """Whether something was dropped of a line that has not ended yet."""
        return bool(self._cut)

    def passed(self, sent: Lines) -> None:
        """Note what was sent after it: a line that ends there is over."""
        if sent.ends:
            self._cut.discard(sent.stream)

    def without_rest(self, stream: str, text: str) -> str:
        """Return what is to be sent after it: not the end of a line that was counted."""
        if stream not in self._cut:
            return text
        self._cut.discard(stream)
        return text[text.find("\n") + 1 :]  # all of a progress bar, which has no line ends


class Tail(NamedTuple):
    """A cell in which the program's output is shown.

    Attributes:
        process: pid of its client, if that is known.
        choose: returns what is shown of a piece.
    """

    parent: dict[str, Any]
    process: int | None
    choose: Callable[[Piece], str]


def split(text: str) -> Iterator[str]:
    """Yield ``text`` in pieces that hardly need to be split any more, as UTF-8 can have it.

    Lone surrogates, legal in a str, have no UTF-8: they become escapes.
    """
    length = CUT
    if not text.isascii():
        encoded = text.encode("utf-8", "backslashreplace")
        text = encoded.decode()
        length = max(1, CUT * len(text) // len(encoded))
    at = 0
    while len(text) - at > length:
        end = text.rfind("\n", at, at + length) + 1 or at + length
        yield text[at:end]
        at = end
    if at < len(text):
        yield text[at:]


def dropped(lines: int) -> str:
    """Return the line that says how much is missing."""
    return f"[rtconsole: {lines:,} line{'s' * (lines != 1)} dropped]\n"


def dose(items: list[Any]) -> int:
    """Return how many of the items make about ``CUT`` characters."""
    if len(items) <= _FEW:
        return _FEW
    # a print is mostly two items, text and line end, or some more: a step that meets all of them
    few = items[:: len(items) // _SAMPLE // 6 * 6 + 1]
    size = sum(len(item if isinstance(item, str) else item[2]) for item in few)
    return max(_SAMPLE, CUT * len(few) // max(size, 1))


def doses(items: list[Any]) -> Iterator[list[Any]]:
    """Yield what waits in parts of about ``CUT`` characters each.

    glibc's malloc keeps what was allocated in pieces as large as ever were freed.

    Args:
        items: text, or (stream, thread, text or bytes).
    """
    step = dose(items)
    if step >= len(items):
        yield items
        return
    for at in range(0, len(items), step):
        yield items[at : at + step]
