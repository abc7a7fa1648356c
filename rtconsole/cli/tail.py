"""``rtconsole tail``."""

import re
import threading

import click

from rtconsole import client
from rtconsole.errors import Gone, RtconsoleError, UsageError

from .several import Board, Lines, side_by_side
from .target import chosen, reached


@click.command()
@click.argument("words", nargs=-1, metavar="TARGET...")
@click.option("--all", "everywhere", is_flag=True, help="All processes that have a console.")
@click.option("-n", "--lines", type=click.IntRange(0), default=0, help="Begin with kept lines.")
@click.option("-e", "--regexp", metavar="REGEX", help="Only lines in which it is found.")
@click.option("-s", "--stream", type=click.Choice(["stdout", "stderr"]), help="Only this one.")
def command(
    words: tuple[str, ...], everywhere: bool, lines: int, regexp: str | None, stream: str | None
) -> None:
    """Follow what programs print, until they end or Ctrl-C.

    Of several each line is marked with its TARGET: a pid, a name, a connection file or
    user@host:PID. Their stderr goes to standard error. What was kept, for -n, is since
    RTCONSOLE_HISTORY began to record, or else since somebody was attached.

    \b
    Example:
      rtconsole tail 4242
      rtconsole tail -n 100 -e ERROR 4242 4250
    """
    known = chosen(words, everywhere)
    try:
        pattern = re.compile(regexp) if regexp is not None else None
    except re.error as error:
        raise UsageError(f"-e {regexp}: not a regular expression: {error}") from None
    targets = list(known)
    marked = len(targets) > 1 or everywhere
    board = Board(targets)
    over = threading.Event()

    def follow(target: str) -> None:
        shown = _Shown(target, board if marked else None, lines, pattern, stream)
        try:
            with reached(target, known[target]) as there:
                client.follow(there.info, shown.begin, shown.take, over.is_set)
        finally:
            shown.end()

    failed: RtconsoleError | None = None
    try:
        for ended in side_by_side(follow, targets, jobs=len(targets)):
            result = ended[1] if ended is not None else None
            if isinstance(result, Gone) or (isinstance(result, RtconsoleError) and marked):
                click.echo(f"rtconsole: {result}", err=True)
            if isinstance(result, RtconsoleError) and not isinstance(result, Gone):
                failed = result
            elif isinstance(result, BaseException) and not isinstance(result, Gone):
                raise result
    finally:
        over.set()
    if failed is not None and not marked:
        raise failed
    raise click.exceptions.Exit(failed.exit_code if failed is not None else 0)


class _Shown:
    """What is shown of one process."""

    def __init__(
        self,
        mark: str,
        board: Board | None,
        kept: int,
        pattern: "re.Pattern[str] | None",
        stream: str | None,
    ) -> None:
        """
        Args:
            board: where lines go that are to be marked; ``None`` if they are not.
            kept: how many of the lines from before.
            pattern: what a line is to have.
            stream: the only one to show.
        """
        self._mark = mark
        self._board = board
        self._most = kept
        self._pattern = pattern
        self._stream = stream
        self._lines = Lines()

    def begin(self, kept: list[tuple[str, str]]) -> None:
        """Show the last lines of what was kept; of all streams, as many as are wanted."""
        lines = [
            (stream, line)
            for stream, text in kept
            if self._stream in (None, stream)
            for line in text.splitlines(keepends=True)
        ]
        for stream, line in lines[-self._most :] if self._most else ():
            self._show(stream, line)

    def take(self, stream: str, text: str) -> None:
        """Show a piece of output."""
        if self._stream in (None, stream):
            self._show(stream, text)

    def end(self) -> None:
        """There is no more."""
        for stream, text in self._lines.rest():
            self._print(stream, text)

    def _show(self, stream: str, text: str) -> None:
        if self._board is None and self._pattern is None:
            self._print(stream, text)  # at once, also half a line
            return
        for line in self._lines.split(stream, text):
            self._print(stream, line)

    def _print(self, stream: str, text: str) -> None:
        if self._pattern is not None and not self._pattern.search(text):
            return
        if self._board is not None:
            self._board.line(self._mark, text, err=stream == "stderr")
            return
        click.echo(text, nl=False, err=stream == "stderr")
