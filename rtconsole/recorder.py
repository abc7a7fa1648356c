"""The last words of the program: its output's end, kept for whoever looks.

With ``RTCONSOLE_HISTORY`` output is recorded from start-up on, by a ``write`` set on the
stream objects; otherwise only what an attached console shows is kept. Runs at start-up:
standard library only, few imports, and never raises into the program.
"""

import sys

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Recorder:
    """Keeps the last characters of the program's output.

    Attributes:
        limit: how many characters are kept; up to twice as many are in memory.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[Any] = []  # str of stdout, (stream, str) of others
        self._room = limit
        self._undo: list[Callable[[], None]] = []

    def kept(self) -> "list[tuple[str, str]]":
        """Return what is kept, oldest first: (stream, text), texts of one stream joined."""
        joined: list[tuple[str, list[str]]] = []
        for piece in self._pieces[:]:
            stream, text = ("stdout", piece) if isinstance(piece, str) else piece
            if joined and joined[-1][0] == stream:
                joined[-1][1].append(text)
            else:
                joined.append((stream, [text]))
        found, left = [], self.limit
        for stream, texts in reversed(joined):
            parts: list[str] = []
            for text in reversed(texts):  # what is not kept is not copied
                if left <= 0:
                    break
                parts.append(text[-left:])
                left -= len(parts[-1])
            if any(parts):
                found.append((stream, "".join(reversed(parts))))
        return found[::-1]

    def add(self, stream: str, text: str) -> None:
        """Keep ``text``."""
        self._pieces.append(text if stream == "stdout" else (stream, text))
        self._room -= len(text)
        if self._room < 0:
            self._trim()

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()

    def _trim(self) -> None:
        """Forget what is over the limit.

        Several threads may be here at once, or come here again by a signal handler: what
        is added meanwhile comes after the pieces that are replaced.
        """
        self._room = self.limit
        count = len(self._pieces)
        kept = [text if name == "stdout" else (name, text) for name, text in self.kept()]
        self._pieces[:count] = kept

    # -- from start-up on ----------------------------------------------------------------

    def install(self) -> None:
        """Record what is written to the program's stdout and stderr."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            try:
                if "write" not in vars(stream):
                    self._record(stream, name)
            except (AttributeError, TypeError):
                pass  # there is no such stream, or it takes no attributes

    def _record(self, stream: "Any", name: str) -> None:
        original, append, is_stdout = stream.write, self._pieces.append, name == "stdout"

        def write(text: str, /) -> "Any":
            try:
                result = original(text)
                append(text if is_stdout else (name, text))
                self._room -= len(text)
                if self._room < 0:
                    self._trim()
                return result
            except BaseException as error:
                hide_frame(error)
                raise

        write.rtconsole_original = original  # type: ignore[attr-defined]
        stream.write = write

        def undo() -> None:
            if vars(stream).get("write") is write:
                del stream.write

        self._undo.append(undo)

    def remove(self) -> None:
        """Leave the streams as they were."""
        while self._undo:
            self._undo.pop()()


def hide_frame(error: BaseException) -> None:
    """Take the frame that just caught ``error``, and those of ours below it, out of its traceback.

    Followed by a bare ``raise``, which adds no entry, a hook leaves no trace in the
    traceback that the program may print. Below it is whom it had called when a signal's handler
    raised.
    """
    entry = error.__traceback__
    if entry is not None:
        entry = entry.tb_next
        while entry is not None and _is_ours(entry.tb_frame.f_globals.get("__name__")):
            entry = entry.tb_next
        error.__traceback__ = entry


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.startswith("rtconsole.")


# The one that records from start-up on.
current: "Recorder | None" = None


def start(limit: int) -> None:
    """Record from now on; in a forked child, its own output only."""
    global current
    if current is not None:
        current.clear()
    elif limit:
        current = Recorder(limit)
        current.install()


def stop() -> None:
    """Leave the streams as they were."""
    global current
    stopping, current = current, None
    if stopping is not None:
        stopping.remove()
