"""Several processes at once: lines that say whose they are, and threads that work side by side."""

import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import click

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")


class Lines:
    """Whole lines out of text that comes in pieces, of each stream by itself."""

    def __init__(self) -> None:
        self._unfinished: dict[str, str] = {}

    def split(self, stream: str, text: str) -> list[str]:
        """Return the lines that ``text`` completes, with their ends."""
        lines = re.findall(r"[^\n]*\n|[^\n]+", self._unfinished.pop(stream, "") + text)
        if lines and not lines[-1].endswith("\n"):
            self._unfinished[stream] = lines.pop()
        return lines

    def rest(self) -> list[tuple[str, str]]:
        """Return what was not completed: (stream, text)."""
        rest, self._unfinished = list(self._unfinished.items()), {}
        return rest


class Board:
    """Standard output and error, shared by threads, each line with the mark of its process.

    Below them, on a terminal, a bar that says how many are done.
    """

    def __init__(self, marks: list[str], bar: bool = False) -> None:
        """
        Args:
            marks: of all processes, for their width and colours.
            bar: whether there may be one.
        """
        self._width = max(map(len, marks), default=0)
        self._colours = {m: _COLOURS[n % len(_COLOURS)] for n, m in enumerate(marks)}
        self._lock = threading.Lock()
        self._total = len(marks)
        self._may_have_bar = bar and sys.stderr.isatty()
        self._bar: Any = None  # click's
        self._done = 0

    def line(self, mark: str, text: str, err: bool = False) -> None:
        """Print a line of a process, with or without its end."""
        prefix = click.style(f"{mark:>{self._width}} |", fg=self._colours.get(mark))
        with self._lock:
            if self._bar is not None:
                click.echo("\r\x1b[K", err=True, nl=False)
            click.echo(f"{prefix} {text.rstrip(chr(10))}", err=err)
            if self._bar is not None:
                self._draw()

    def progress(self, done: int) -> None:
        """Show the bar: so many are done."""
        with self._lock:
            if self._may_have_bar:
                self._done = done
                self._draw()

    def _draw(self) -> None:
        # anew each time, since one bar draws nothing twice
        self._bar = click.progressbar(
            length=self._total, label="processes", show_pos=True, file=sys.stderr
        )
        self._bar.pos = self._done
        self._bar.render_progress()

    def finish(self) -> None:
        """Leave the bar, if there is one."""
        with self._lock:
            if self._bar is not None:
                self._bar.render_finish()
                self._bar = None


def side_by_side(
    work: Callable[[str], Any], targets: list[str], jobs: int, patience: float | None = None
) -> Iterator[tuple[str, Any] | None]:
    """Call ``work`` for each target, ``jobs`` at a time; yield (target, result) as they end.

    Its threads are left behind if the caller is interrupted: some may never end.

    Args:
        patience: seconds after which ``None`` is yielded, for the time being.
    """
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    for target in targets:
        todo.put(target)

    def loop() -> None:
        while True:
            try:
                target = todo.get_nowait()
            except queue.Empty:
                return
            try:
                result = work(target)
            except BaseException as error:  # protects the other targets: it is this one's result
                result = error
            ended.put((target, result))

    for _ in range(min(jobs, len(targets))):
        threading.Thread(target=loop, daemon=True).start()
    missing = len(targets)
    while missing:
        try:
            found = ended.get(timeout=patience)
        except queue.Empty:
            yield None
            continue
        missing -= 1
        yield found
