"""``%mirror`` and ``%tail``: the program's output, in the console and in a cell."""

import re
import time
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

from rtconsole.kernel import cell
from rtconsole.kernel.clock import monotonic
from rtconsole.kernel.entering import waits
from rtconsole.kernel.mirror import MODES
from rtconsole.kernel.pieces import Piece, Tail
from rtconsole.kernel.quiet import step


@magics_class
class OutputMagics(Magics):
    """What of the program's output is seen, and where."""

    @line_magic
    def mirror(self, parameter_s: str = "") -> None:
        """Say or change what clients see of the program's output.

        %mirror            say what it is
        %mirror tee        the program writes as ever, and clients see it (the default)
        %mirror redirect   clients see it instead, as long as there are any
        %mirror errors     as tee, but only what goes to stderr
        %mirror off        clients see nothing of it

        It holds for all clients of this process, until it ends.
        """
        mirror = self.shell.kernel.output.mirror
        wanted = parameter_s.strip().lower()
        if wanted and wanted not in MODES:
            raise UsageError(f"%mirror {wanted}: it is one of {', '.join(MODES)}")
        if wanted:
            with cell.uninterrupted():
                mirror.mode = wanted
        print(f"mirror: {mirror.mode}")

    @line_magic
    @waits
    def tail(self, parameter_s: str = "") -> None:
        """Show the program's output in this cell until it is interrupted.

        %tail [-n LINES] [-e REGEX] [-s STREAM] [-t SECONDS]

        Options:
          -n  begin with the last LINES lines that were kept: since RTCONSOLE_HISTORY began
              to record, or else since somebody was attached
          -e  only lines in which the regular expression is found
          -s  only stdout, or only stderr
          -t  end after SECONDS; 0 shows what was kept

        Meanwhile its client does not see it elsewhere.
        With %mirror off there is nothing to show.
        """
        options, rest = self.parse_options(parameter_s, "n:e:s:t:")
        if rest:
            raise UsageError(f"%tail takes options only, not {rest!r}: see %tail?")
        lines = _number(options, "n", 0)
        seconds = _number(options, "t", None)
        stream = options.get("s")
        if stream not in (None, "stdout", "stderr"):
            raise UsageError(f"%tail -s {stream}: it is stdout or stderr")
        try:
            pattern = re.compile(options["e"]) if "e" in options else None
        except re.error as error:
            raise UsageError(f"%tail -e: not a regular expression: {error}") from None
        running = cell.running()
        if running is None:
            raise UsageError("%tail shows output in the cell that it is called in")
        output = self.shell.kernel.output
        chooser = Chooser(pattern, stream)
        tail = Tail(running.parent, running.process, chooser.choose)
        remove = step(output.publisher.tails.remove)
        try:  # from here on it shows something: an interrupt ends it well
            for name, text in _last(output.recorder.kept(), int(lines or 0)):
                running.write(name, chooser.choose(Piece(name, None, text)))
            output.publisher.tails.append(tail)
            end = None if seconds is None else monotonic() + seconds
            while end is None or monotonic() < end:
                # in pieces, since it may not be the cell's sleep: see rtconsole.native
                left = cell.NAP if end is None else end - monotonic()
                time.sleep(min(cell.NAP, max(0, left)))
        except KeyboardInterrupt:
            pass
        finally:
            try:
                _ = remove[tail]  # quietly, or another interrupt would leave it there for good
            except ValueError:  # it was interrupted before that
                pass
            for name, text in chooser.rest():
                running.write(name, text)


class Chooser:
    """Chooses what of the program's output a ``%tail`` shows."""

    def __init__(self, pattern: "re.Pattern[str] | None", stream: str | None) -> None:
        self._pattern = pattern
        self._stream = stream
        self._unfinished: dict[str, str] = {}

    def choose(self, piece: Piece) -> str:
        """Return the text to show of a piece; lines that are to match, once they are whole."""
        if self._stream not in (None, piece.stream):
            return ""
        if self._pattern is None:
            return piece.text
        text = self._unfinished.pop(piece.stream, "") + piece.text
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith(("\n", "\r")):
            self._unfinished[piece.stream] = lines.pop()
        return "".join(line for line in lines if self._pattern.search(line))

    def rest(self) -> list[tuple[str, str]]:
        """Return the unfinished lines that match: (stream, text)."""
        return [
            (stream, text)
            for stream, text in self._unfinished.items()
            if self._pattern is not None and self._pattern.search(text)
        ]


def _last(kept: list[tuple[str, str]], lines: int) -> list[tuple[str, str]]:
    """Return the last ``lines`` lines of what was kept, of all streams together."""
    found: list[tuple[str, str]] = []
    for stream, text in reversed(kept):
        own = text.splitlines(keepends=True)
        if lines <= 0:
            break
        found.append((stream, "".join(own[-lines:])))
        lines -= len(own)
    return found[::-1]


def _number(options: Any, name: str, default: float | None) -> float | None:
    try:
        value = float(options[name]) if name in options else default
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError
    except ValueError:
        raise UsageError(f"%tail -{name} {options[name]}: not a number") from None
    return value
