"""Processes as a table for people: a tree, cut to the width of the terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from rtconsole.connection import program, shown

# A program's text is never cut shorter than this while there are columns to leave out.
_ENOUGH = 20

_STATES = {"dormant": "bright_black", "active": "green", "busy": "yellow", "unknown": "red"}
_UNITS = (("G", 30), ("M", 20), ("K", 10))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its heading, and what it says of a process.

    Attributes:
        rank: those with the highest are left out first where it is narrow.
    """

    heading: str
    text: Callable[[Mapping[str, Any]], str]
    rank: int
    right: bool = False


_COLUMNS = (
    _Column("PID", lambda row: str(row["pid"]), 0, right=True),
    _Column("USER", lambda row: shown([row["user"]]), 4),
    _Column("UPTIME", lambda row: uptime(time.time() - row["started"]), 3, right=True),
    _Column("STATE", lambda row: str(row["state"]), 1),
    _Column("CLIENTS", lambda row: str(row["clients"] or "-"), 2, right=True),
    _Column("PYTHON", lambda row: shown([row["python"]]), 7),
    _Column("CPU%", lambda row: f"{row['cpu_percent']:.1f}", 5, right=True),
    _Column("MEMORY", lambda row: size(row["rss"]), 6, right=True),
)


def lines(
    rows: Sequence[Mapping[str, Any]], parents: Mapping[int, int], width: int | None, plain: bool
) -> Iterator[str]:
    """Yield the lines of the table, with the escape sequences of colours in them.

    Args:
        rows: as :meth:`rtconsole.processes.Process.as_json` returns them.
        parents: for a pid, that of the process under which it is shown, if any.
        width: of the terminal, ``None`` to cut nothing.
        plain: draw the tree in ASCII.
    """
    tree = list(_tree(rows, parents, plain))
    programs = [branch + shown(program(row["argv"])) for row, branch in tree]
    columns = [(c, [c.heading, *(c.text(row) for row, _ in tree)]) for c in _COLUMNS]
    widest = max(map(columns_of, ["PROGRAM", *programs]))
    if width is not None:
        wanted = min(widest, _ENOUGH)
        while len(columns) > 1 and _width(columns) + wanted > width:
            columns.remove(max(columns, key=lambda column: column[0].rank))
        room = max(width - _width(columns), 1)
    else:
        room = widest
    cells = [_aligned(texts, column.right) for column, texts in columns]
    headings = "  ".join(column[0] for column in cells)
    yield click.style(f"{headings}  {cut('PROGRAM', room)}", bold=True)
    for number, ((row, _), what) in enumerate(zip(tree, programs, strict=True), start=1):
        texts = [column[number] for column in cells]
        for at, (column, _) in enumerate(columns):
            if column.heading == "STATE":
                texts[at] = click.style(texts[at], fg=_STATES.get(row["state"]))
        yield "  ".join([*texts, cut(what, room)])


def _width(columns: Sequence[tuple[_Column, list[str]]]) -> int:
    return sum(max(map(columns_of, texts)) + 2 for _, texts in columns)


def _aligned(texts: list[str], right: bool) -> list[str]:
    width = max(map(columns_of, texts))
    fills = [" " * (width - columns_of(text)) for text in texts]
    return [fill + text if right else text + fill for text, fill in zip(texts, fills, strict=True)]


def _tree(
    rows: Sequence[Mapping[str, Any]], parents: Mapping[int, int], plain: bool
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each row after its parent, with what leads to it in the tree."""
    among = {row["pid"] for row in rows}
    children: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        parent = parents.get(row["pid"], 0)
        children.setdefault(parent if parent in among else 0, []).append(row)
    more, last, down = ("|- ", "`- ", "|  ") if plain else ("├─ ", "└─ ", "│  ")
    waiting = [(row, "", "") for row in reversed(children.get(0, []))]
    while waiting:
        row, branch, below = waiting.pop()
        yield row, branch
        own = children.pop(row["pid"], [])
        for number, child in enumerate(reversed(own)):
            here, rest = (last, "   ") if number == 0 else (more, down)
            waiting.append((child, below + here, below + rest))


def terminal_size() -> tuple[int, int]:
    """Return columns and lines of the terminal that standard output is."""
    size = os.get_terminal_size(sys.stdout.fileno())
    return size.columns or 80, size.lines or 24  # a serial line may not know


def uptime(seconds: float) -> str:
    """Return a duration in two units at most: ``12s``, ``5m03s``, ``2h07m``, ``3d04h``."""
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"


def size(amount: float) -> str:
    """Return a number of bytes for people: ``65M``, ``1.2G``."""
    for unit, power in _UNITS:
        if amount >= 1 << power:
            scaled = amount / (1 << power)
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    return f"{amount:.0f}B"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import wcwidth

    return max(wcwidth.wcswidth(text), 0)


def cut(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, with an ellipsis where it is cut."""
    if columns_of(text) <= width:
        return text
    taken = 0
    for at, character in enumerate(text):
        taken += columns_of(character)
        if taken >= width:
            return text[:at] + "…"
    return text
