"""What the program wrote and nobody has taken yet.

Its writers append to a list, and the thread of the iopub channel takes what is there. That may be
late: who prints to a file lets go of the interpreter, and takes it again, for each few kilobytes,
so that whoever waits for it is woken each time, never waits for a whole switch interval, and so
never asks for it (Python/ceval_gil.c). On a busy machine that can go on for seconds, in which the
program writes some million pieces, of which each takes ten times as much memory as its text. So
from some thousands on its writers join them.
"""

import _thread
import codecs
from itertools import groupby
from typing import Any, NamedTuple

from .pieces import CUT, Lines, Piece, dose, doses

# So many pieces are not joined by who writes.
MANY = 100_000

# More changes of thread than this are sent as one message a stream.
_RUNS = 8

# What was joined to so many characters is not joined to more.
_LONG = CUT // 8

# Seconds until whoever joins is taken to be interrupted, by a signal of the program's.
_PATIENCE = 0.2


class Written:
    """The list, and who takes from it.

    Attributes:
        items: text that the main thread wrote to stdout, and (stream, thread or threads, text or
            bytes) of everything else; and first what was joined already.
        encodings: of the bytes written to a stream's buffer.
    """

    def __init__(self, programs_threading: Any, limit: int) -> None:
        """
        Args:
            programs_threading: the program's module, since ours may be another one.
            limit: characters that wait here at most, once they were joined.
        """
        self.items: list[Any] = []
        self.encodings: dict[str, str] = {}
        self._threading = programs_threading
        self._limit = limit
        self._decoders: dict[str, Any] = {}
        self._taking = _thread.allocate_lock()

    # -- in the iopub thread -------------------------------------------------------------

    def take(self) -> tuple[list[Lines], list[Piece]]:
        """Return what was dropped, and then what is there, runs of one thread joined."""
        if not self._taking.acquire(timeout=_PATIENCE):
            self._taking = _thread.allocate_lock()
            self._taking.acquire()
        try:
            whole = self._take_text()
            if whole is not None:
                return [], [whole]
            items = self.items[:]
            del self.items[: len(items)]
        finally:
            self._taking.release()
        lost, joined, items = _divided(items)
        parts = [joined, *doses(items)]
        return lost, [piece for part in parts if part for piece in self._joined(part)]

    def _take_text(self) -> Piece | None:
        """Return all that is there if it is what most floods are, the main thread's on stdout.

        That is joined without a copy of the list, which takes as long as to join it.
        """
        items = self.items
        count = len(items)
        if not count or not isinstance(items[0], str) or count > dose(items):
            return None
        try:
            text = "".join(items)
        except TypeError:
            return None
        if len(items) != count:  # somebody has added to it, before or after
            return None
        del items[:count]
        return Piece("stdout", _name(self._threading.main_thread()), text)

    def _joined(self, items: list[Any]) -> list[Piece]:
        return [
            Piece(stream, _name(thread), self._text(stream, parts))
            for stream, thread, parts in self._runs(items)
        ]

    def _runs(self, items: list[Any]) -> list[tuple[str, Any, list[Any]]]:
        main = self._threading.main_thread()
        try:
            return [("stdout", main, ["".join(items)])]
        except TypeError:  # not only the main thread, or not only stdout
            return _runs(items, main)

    def _text(self, stream: str, parts: list[Any]) -> str:
        try:
            return "".join(parts)
        except TypeError:
            decoder = self._decoder(stream)
            return "".join(
                decoder.decode(part) if isinstance(part, bytes) else part for part in parts
            )

    def _decoder(self, stream: str) -> Any:
        encoding = self.encodings.get(stream, "utf-8")
        key = f"{stream} {encoding}"
        if key not in self._decoders:
            try:
                make = codecs.getincrementaldecoder(encoding)
            except LookupError:
                make = codecs.getincrementaldecoder("utf-8")
            self._decoders[key] = make("backslashreplace")
        return self._decoders[key]

    # -- in the program's threads --------------------------------------------------------

    def join(self) -> None:
        """Join what waits, and drop the oldest of it that is over the limit.

        Nobody waits for it, and what waits stays in the list until what it was joined to takes
        its place: a signal's handler may raise at any moment. Bytes are not decoded here, since
        those before them may be just being.
        """
        taking = self._taking
        if not taking.acquire(blocking=False):
            return
        try:
            items = self.items[:]
            lost, joined, rest = _divided(items)
            if joined and len(joined[-1][2]) < _LONG:
                rest.insert(0, joined.pop())
            for stream, thread, parts in self._runs(rest):
                for is_binary, some in groupby(parts, lambda part: isinstance(part, bytes)):
                    empty: Any = b"" if is_binary else ""
                    joined.append((stream, thread, empty.join(some)))
            lost += _dropped(joined, self._limit)
            if taking is self._taking:
                self.items[: len(items)] = [_Joined(lost, joined)]
        finally:
            taking.release()


class _Joined(NamedTuple):
    """What comes first in the list: what was dropped, and what was joined."""

    lost: list[Lines]
    pieces: list[tuple[str, Any, Any]]


def _divided(items: list[Any]) -> tuple[list[Lines], list[tuple[str, Any, Any]], list[Any]]:
    """Return what was dropped, joined and neither, in lists of their own."""
    if items and type(items[0]) is _Joined:
        return items[0].lost[:], items[0].pieces[:], items[1:]
    return [], [], items


def _runs(items: list[Any], main: Any) -> list[tuple[str, Any, list[Any]]]:
    """Return stream, thread and parts of what one thread wrote to one stream at a time.

    Args:
        main: the main thread.

    Returns:
        Of many such runs one for each stream, with all its threads.
    """
    runs: list[tuple[str, Any, list[Any]]] = []
    last_stream, last_thread = "", None
    parts: list[Any] = []
    add = parts.append
    for item in items:  # in a flood of several threads most of the work: keep it short
        if isinstance(item, str):
            if item == "\n" and last_stream == "stdout":
                add(item)  # whose the line is, the end is
                continue
            stream, thread, part = "stdout", main, item
        else:
            stream, thread, part = item
        if thread is not last_thread or stream != last_stream:
            last_stream, last_thread, parts = stream, thread, []
            runs.append((stream, thread, parts))
            add = parts.append
        add(part)
    return runs if len(runs) <= _RUNS else _by_stream(runs)


def _by_stream(runs: list[tuple[str, Any, list[Any]]]) -> list[tuple[str, Any, list[Any]]]:
    joined = []
    for stream in dict.fromkeys(stream for stream, _, _ in runs):
        own = [(thread, parts) for other, thread, parts in runs if other == stream]
        # by identity: they are the program's, and so may be what compares them
        threads: dict[int, Any] = {}
        for thread, _ in own:
            threads.update((id(t), t) for t in (thread if type(thread) is tuple else (thread,)))
        parts = [part for _, parts in own for part in parts]
        joined.append((stream, tuple(threads.values()), parts))
    return joined


def _name(thread: Any) -> str | None:
    if type(thread) is not tuple:
        return getattr(thread, "name", None)
    names = [name for name in map(_name, thread) if name]
    return ", ".join(names[:8]) or None


def _dropped(pieces: list[tuple[str, Any, Any]], limit: int) -> list[Lines]:
    """Take what is over the limit out of ``pieces``, the oldest, and return its lines."""
    lost = []
    over = sum(len(text) for _, _, text in pieces) - limit
    while over > 0:
        stream, thread, text = pieces.pop(0)
        if len(text) > over:
            at = text.rfind(b"\n" if isinstance(text, bytes) else "\n", 0, over) + 1 or over
            pieces.insert(0, (stream, thread, text[at:]))
            text = text[:at]
        over -= len(text)
        lost.append(Lines.of(stream, text if isinstance(text, str) else text.decode("latin-1")))
    return lost
