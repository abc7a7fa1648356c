"""What is shown above the prompt, at once and without disturbing it.

Text is collected by source, whole lines go up into the terminal's scrollback, and a line
that has no end yet (a progress bar, a print without newline) is shown right above the prompt,
where it can still change. The first text is shown at once, under a flood what came together.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from prompt_toolkit.output import Output

from .backlog import Backlog, Kind
from .lines import RESET, LineBuffer, harmless, without_colours

# Seconds between two drawings of a flood.
_WINDOW = 0.02

DIM, RED, GREEN, CYAN, YELLOW = "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[33m"

# What is between them a terminal shows in one go, if it knows how to: the prompt does not
# flicker. Others ignore it. https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036
_TOGETHER, _DONE = "\x1b[?2026h", "\x1b[?2026l"

# Characters that are written at once. The terminal may take its time for them, in which
# nobody hears the keyboard: the more it takes, the fewer they are.
_SMALLEST, _LARGEST = 2_000, 200_000
_SLOW = 0.03  # seconds

# Lines of cells that may wait for a terminal that is slower.
_MOST_WAITING = 50_000

# We are late when lines have waited for that many seconds. From then on the program's output
# is shortened, so that what is seen is not long past: its lines that may wait, and the
# characters of one message of it that are looked at.
_LATE = 0.3
_LATE_WAITING, _LATE_TEXT = 500, 4_000

# In a hurry, after an interrupt: lines that may wait, seconds between two drawings.
_HURRIED_WAITING, _HURRIED_WINDOW = 100, 0.25

# The end of an unfinished line that is shown, in characters.
_PARTIAL_SHOWN = 1000


class Source:
    """Somebody who writes: the program's stdout, a cell's stderr.

    Attributes:
        gutter: what stands before each of its lines.
        colour: of its text, as an escape sequence; "" for the terminal's own.
        kind: whether its lines may be left out.
    """

    def __init__(self, gutter: str = "", colour: str = "", kind: Kind = Kind.CELL) -> None:
        self.gutter = gutter
        self.colour = colour
        self.kind = kind
        self.line = LineBuffer()

    def dressed(self, line: str) -> str:
        """Return a line as it is shown."""
        text = f"{self.colour}{line.replace(RESET, RESET + self.colour)}{RESET}"
        return self.gutter + (text if self.colour else line)


class Screen:
    """The terminal above the prompt.

    Attributes:
        app: prompt_toolkit's Application, once it runs.
        lag: returns for how many seconds there has been more to read than was read.
    """

    def __init__(self, output: Output, has_colours: bool) -> None:
        """
        Args:
            has_colours: false to show all text in the terminal's own colour.
        """
        self.output = output
        self.has_colours = has_colours
        self.app: Any = None
        self.lag: Callable[[], float] = lambda: 0.0
        self._backlog = Backlog()
        self._behind_since: float | None = None
        self._hurries = False
        self._chunk = _SMALLEST
        self._sources: list[Source] = []  # with an unfinished line, in the order they began
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._last = 0.0

    @property
    def columns(self) -> int:
        return self.output.get_size().columns

    @property
    def rows(self) -> int:
        return self.output.get_size().rows

    def write(self, source: Source, text: str) -> None:
        """Show text of a source; the last line may go on later."""
        if source.kind is Kind.PROGRAM and len(text) > _LATE_TEXT and self._is_late():
            text = self._end_of(source, text)
        lines = [source.dressed(line) for line in source.line.feed(text)]
        self._backlog.add(source.kind, lines)
        if source in self._sources:
            if not source.line.partial:
                self._sources.remove(source)
        elif source.line.partial:
            self._sources.append(source)
        self._schedule()

    def end(self, source: Source) -> None:
        """End a source's unfinished line, if there is one."""
        if source in self._sources:
            self._sources.remove(source)
            self._backlog.add(source.kind, [source.dressed(source.line.end())])
            self._schedule()

    def show(self, text: str) -> None:
        """Show whole lines of text."""
        self._backlog.add(Kind.KEPT, [harmless(text)])
        self._schedule()

    def show_image(self, text: str) -> None:
        """Show an image, in the terminal's own protocol."""
        self._backlog.add(Kind.KEPT, [text])
        self._schedule()

    def note(self, text: str, colour: str = DIM) -> None:
        """Show a remark of the console itself."""
        self.show(f"{colour}{text}{RESET}")

    def leave_out(self, lines: int) -> None:
        """Say that so many lines are missing."""
        self._backlog.left_out += lines
        self._schedule()

    def hurry(self, hurries: bool) -> None:
        """Show only the end of what waits from now on, or all of it again."""
        self._hurries = hurries
        self._schedule()

    def unfinished(self) -> str:
        """Return the lines without an end, for the place above the prompt."""
        shown = []
        for source in self._sources:
            text = source.line.partial
            if len(text) > _PARTIAL_SHOWN:
                text = "…" + without_colours(text)[-_PARTIAL_SHOWN:]
            shown.append(source.dressed(text))
        return self._coloured("\n".join(shown))

    # -- drawing -------------------------------------------------------------------------

    def _coloured(self, text: str) -> str:
        return text if self.has_colours else without_colours(text)

    def _schedule(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            window = _HURRIED_WINDOW if self._hurries else _WINDOW
            wait = self._last + window - loop.time()
            self._timer = (
                loop.call_soon(self.flush) if wait <= 0 else loop.call_later(wait, self.flush)
            )

    def flush(self) -> None:
        """Draw what waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        app = self.app
        is_drawn = app is not None and app.is_running
        self._shorten()
        if is_drawn and app._running_in_terminal:  # a pager or an editor has it now
            self._timer = asyncio.get_running_loop().call_later(_WINDOW * 5, self.flush)
            return
        text = "".join(f"{self._coloured(line)}\n" for line in self._next_lines())
        if text:
            if is_drawn:
                self.output.write_raw(_TOGETHER)
                app.renderer.erase()
            self._write_out(text)
        if is_drawn:
            # not invalidate(), which draws later: the prompt would flicker under a flood
            app._redraw()
            if text:
                self.output.write_raw(_DONE)
                self.output.flush()
        self._last = asyncio.get_running_loop().time()
        if not self._backlog:
            self._behind_since = None
        else:
            self._behind_since = self._behind_since or self._last
            self._schedule()

    def _write_out(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.output.write_raw(text)
        self.output.flush()
        if loop.time() - began > _SLOW:
            self._chunk = max(_SMALLEST, self._chunk // 2)
        else:
            self._chunk = min(_LARGEST, self._chunk * 2)

    def _is_late(self) -> bool:
        """Tell whether what is shown now, or what is read, came a while ago."""
        now = asyncio.get_running_loop().time()
        behind = 0.0 if self._behind_since is None else now - self._behind_since
        return max(behind, self.lag()) > _LATE

    def _end_of(self, source: Source, text: str) -> str:
        """Return the last lines of ``text``; the others are left out."""
        at = text.find("\n", len(text) - _LATE_TEXT) + 1
        if not at:
            return text
        source.line.end()
        self._backlog.left_out += text.count("\n", 0, at)
        return text[at:]

    def _shorten(self) -> None:
        """Leave out what is too much to wait."""
        most = _HURRIED_WAITING if self._hurries else _MOST_WAITING
        self._backlog.limit(Kind.CELL, most)
        self._backlog.limit(Kind.PROGRAM, min(most, _LATE_WAITING) if self._is_late() else most)

    def _next_lines(self) -> Iterator[str]:
        """Take what is written at once from what waits, and say what is left out."""
        if self._backlog.left_out:
            yield f"{DIM}({self._backlog.left_out} lines not shown){RESET}"
            self._backlog.left_out = 0
        yield from self._backlog.take(self._chunk)

    def finish(self) -> None:
        """Show the end of what waits, now."""
        self._hurries, self._chunk = True, _LARGEST
        self.flush()
