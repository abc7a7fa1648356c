"""A screen that refreshes itself, as top's does; q leaves, and the terminal is as it was."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from rtconsole.errors import NotATerminal

from .table import cut, terminal_size

SECONDS = 2.0

_LEAVE = b"qQ\x03\x04\x1b"  # also Ctrl-C, Ctrl-D, Escape
_ENTER_SCREEN, _LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch(draw: Callable[[int], list[str]]) -> None:
    """Show what ``draw`` returns for the terminal's width, again and again, until q is typed.

    Raises:
        NotATerminal: nobody is there to type it.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NotATerminal("--watch needs a terminal; without it the list is printed once")
    with _screen() as woken:
        while True:
            width, height = terminal_size()
            lines = draw(width)
            if len(lines) > height - 1:
                more = f"({len(lines) - max(height - 2, 0)} more)"
                lines = [*lines[: max(height - 2, 0)], cut(more, width)][: height - 1]
            text = "".join(f"{line}\x1b[K\r\n" for line in lines)
            help_line = click.style(cut("q leaves", width), dim=True)
            click.echo(f"\x1b[H{text}{help_line}\x1b[J", nl=False)
            sys.stdout.flush()
            ready, _, _ = select.select([sys.stdin, woken], [], [], SECONDS)
            if woken in ready:
                os.read(woken, 4096)
            if sys.stdin in ready:
                typed = os.read(sys.stdin.fileno(), 1024)
                if not typed or any(key in _LEAVE for key in typed):
                    return


@contextmanager
def _screen() -> Iterator[int]:
    """The alternate screen, keys unechoed; yields a pipe that is readable after a resize."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def resized(*_: Any) -> None:
        try:
            os.write(writer, b"x")
        except BlockingIOError:
            pass  # it will look soon anyway

    def ended(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    handlers = {signal.SIGWINCH: resized, signal.SIGTERM: ended, signal.SIGHUP: ended}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        tty.setcbreak(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[3] &= ~termios.ISIG  # Ctrl-C is a key, and Ctrl-Z must not leave us on this screen
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        sys.stdout.write(_ENTER_SCREEN)
        yield reader
    finally:
        sys.stdout.write(_LEAVE_SCREEN)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
