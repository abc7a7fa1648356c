"""The tables at the end of a run: what was measured, what with, and how far it should reach.

A row judges a ratio (or a difference, or the value itself) taken within one run, since a
second on one machine says nothing about a second on another. A reach that was missed is
shown and fails nothing.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HEADINGS = ("what", "value", "compared with", "ratio", "reach", "reached")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, in words.
        value: what came out, in ``unit``.
        than: what it is compared with, empty if with nothing.
        base: what that came to, in ``unit``.
        reach: the largest good number, ``None`` for a row that is for information.
        by: which number the reach is about.
    """

    what: str
    value: float
    unit: str
    than: str = ""
    base: float | None = None
    reach: float | None = None
    by: Literal["ratio", "difference", "value"] = "ratio"

    @property
    def judged(self) -> float:
        if self.base is None or self.by == "value":
            return self.value
        return self.value - self.base if self.by == "difference" else self.value / self.base

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts, one for each heading."""
        with_unit = "" if self.by == "ratio" else f" {self.unit}"
        ratio = ""
        if self.base is not None and self.by == "difference":
            ratio = f"{self.judged:+.3g}{with_unit}"
        elif self.base:
            ratio = f"{self.value / self.base:.3f}"
        reach = reached = ""
        if self.reach is not None:
            reach = f"≤ {self.reach:g}{with_unit}"
            reached = "yes" if self.judged <= self.reach else "no"
        than = self.than if self.base is None else f"{self.than}: {_number(self.base, self.unit)}"
        return self.what, _number(self.value, self.unit), than, ratio, reach, reached


@dataclass(slots=True)
class Report:
    """The rows of a run, in the order in which they were measured.

    Attributes:
        taken_on: the machine and versions, in a line.
        prints: what a print costs: for each kind of print the nanoseconds of the bare one,
            and for each situation how many times as much it costs there.
        latencies: from a print to its receipt, in milliseconds, sorted, for each way.
        notes: what is to be said below the tables.
    """

    taken_on: str
    rows: list[Row] = field(default_factory=list)
    prints: dict[str, tuple[float, dict[str, float]]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def text(self) -> str:
        """Return the tables, and the notes."""
        lines = [row.cells() for row in self.rows]
        parts = [_table([HEADINGS, *lines])] if lines else []
        if self.prints:
            parts.append(self._table_of_prints())
        return "\n\n".join([*parts, *self.notes])

    def _table_of_prints(self) -> str:
        situations = list(
            dict.fromkeys(name for _, found in self.prints.values() for name in found)
        )
        lines = [("a print", "bare", *situations)]
        for what, (bare, ratios) in self.prints.items():
            cells = (f"{ratios[name]:.2f}" if name in ratios else "" for name in situations)
            lines.append((what, _number(bare, "ns"), *cells))
        return _table(lines)

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{self.taken_on}\n\n{self.text()}\n", encoding="utf-8")


def _table(lines: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown, aligned so that it reads well as plain text too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(text.ljust(w) for text, w in zip(line, widths, strict=True))} |"
        for line in lines
    )


def _number(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip() if value < 1000 else f"{value:.0f} {unit}".rstrip()
