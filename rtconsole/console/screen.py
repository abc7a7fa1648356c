"""What is shown above the prompt, at once and without disturbing it.

Text is collected by source, whole lines go up into the terminal's scrollback, and a line
that has no end yet (a progress bar, a print without newline) is shown right above the prompt,
where it can still change. The first text is shown at once, under a flood what came together.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from prompt_toolkit.output import Output

from .lines import RESET, LineBuffer, harmless, without_colours

# Seconds between two drawings of a flood.
_WINDOW = 0.02

DIM, RED, GREEN, CYAN, YELLOW = "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[33m"

# Characters that are written at once. The terminal may take its time for them, in which
# nobody hears the keyboard: the more it takes, the fewer they are.
_SMALLEST, _LARGEST = 2_000, 200_000
_SLOW = 0.03  # seconds

# Lines that may wait for a terminal that is slower than the program; older ones are dropped.
_MOST_WAITING = 50_000

# In a hurry, after an interrupt: lines that may wait, seconds between two drawings.
_HURRIED_WAITING, _HURRIED_WINDOW = 100, 0.25

# The end of an unfinished line that is shown, in characters.
_PARTIAL_SHOWN = 1000


class Source:
    """Somebody who writes: the program's stdout, a cell's stderr.

    Attributes:
        gutter: what stands before each of its lines.
        colour: of its text, as an escape sequence; "" for the terminal's own.
    """

    def __init__(self, gutter: str = "", colour: str = "") -> None:
        self.gutter = gutter
        self.colour = colour
        self.line = LineBuffer()

    def dressed(self, line: str) -> str:
        """Return a line as it is shown."""
        text = f"{self.colour}{line.replace(RESET, RESET + self.colour)}{RESET}"
        return self.gutter + (text if self.colour else line)


class Screen:
    """The terminal above the prompt."""

    def __init__(self, output: Output, has_colours: bool) -> None:
        """
        Args:
            has_colours: false to show all text in the terminal's own colour.
        """
        self.output = output
        self.has_colours = has_colours
        self.app: Any = None  # prompt_toolkit's Application, once it runs
        self._ready: deque[str] = deque()
        self._hurries = False
        self._dropped = 0
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
        self._ready.extend([source.dressed(line) for line in source.line.feed(text)])
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
            self._ready.append(source.dressed(source.line.end()))
            self._schedule()

    def show(self, text: str) -> None:
        """Show whole lines of text."""
        self._ready.append(harmless(text))
        self._schedule()

    def show_image(self, text: str) -> None:
        """Show an image, in the terminal's own protocol."""
        self._ready.append(text)
        self._schedule()

    def note(self, text: str, colour: str = DIM) -> None:
        """Show a remark of the console itself."""
        self.show(f"{colour}{text}{RESET}")

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
        if is_drawn and app._running_in_terminal:  # a pager or an editor has it now
            self._timer = asyncio.get_running_loop().call_later(_WINDOW * 5, self.flush)
            return
        text = "".join(f"{self._coloured(line)}\n" for line in self._next_lines())
        if text:
            if is_drawn:
                app.renderer.erase()
            self._write_out(text)
        if is_drawn:
            # not invalidate(), which draws later: the prompt would flicker under a flood
            app._redraw()
        self._last = asyncio.get_running_loop().time()
        if self._ready:
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

    def _next_lines(self) -> Iterator[str]:
        """Take what is written at once from what waits, and say what is left out."""
        most = _HURRIED_WAITING if self._hurries else _MOST_WAITING
        while len(self._ready) > most:
            self._ready.popleft()
            self._dropped += 1
        if self._dropped:
            yield f"{DIM}({self._dropped} lines not shown){RESET}"
            self._dropped = 0
        size = 0
        while self._ready and size < self._chunk:
            line = self._ready.popleft()
            size += len(line)
            yield line

    def finish(self) -> None:
        """Show the end of what waits, now."""
        self._hurries, self._chunk = True, _LARGEST
        self.flush()
