"""Results as text: what stands in the message, or what can be read of its HTML."""

import html.parser
import re
from collections.abc import Mapping
from typing import Any

from prompt_toolkit.utils import get_cwidth

_BLOCKS = frozenset(("p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "pre", "table"))
_UNSEEN = frozenset(("style", "script", "head", "title"))


def text_of(data: Mapping[str, Any], columns: int) -> str:
    """Return a result's data (a MIME bundle) as text."""
    plain = str(data.get("text/plain", ""))
    # "<IPython.core.display.HTML object>" says less than what it stands for
    if plain and not re.fullmatch(r"<[\w.]+ object(?: at 0x[0-9a-f]+)?>", plain):
        return plain
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return str(data[kind])
    if "text/html" in data:
        return html_as_text(str(data["text/html"]), columns) or plain
    return plain


def html_as_text(source: str, columns: int) -> str:
    """Return what HTML says, its tables as tables."""
    reader = _Reader(columns)
    reader.feed(source)
    reader.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip("\n")


class _Reader(html.parser.HTMLParser):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._columns = columns
        self._rows: list[list[str]] | None = None  # of the table being read
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "table":
            self._rows = []
        elif self._rows is not None:
            if tag == "tr":
                self._rows.append([])
            elif tag in ("td", "th"):
                if not self._rows:
                    self._rows.append([])
                self._rows[-1].append("")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "table" and self._rows is not None:
            self.parts.append(f"\n{_table(self._rows, self._columns)}\n")
            self._rows = None
        elif tag in _BLOCKS and self._rows is None:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._rows is None:
            self.parts.append(re.sub(r"\s+", " ", data))
        elif self._rows and self._rows[-1]:
            self._rows[-1][-1] += re.sub(r"\s+", " ", data)


def _table(rows: list[list[str]], columns: int) -> str:
    """Return rows as lines, the first one as heading; cells that are too wide are cut."""
    rows = [[cell.strip() for cell in row] for row in rows if row]
    width = max(map(len, rows), default=0)
    rows = [[*row, *[""] * (width - len(row))] for row in rows]
    widths = [max(map(get_cwidth, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * len(widths) > columns and max(widths, default=0) > 4:
        widths[widths.index(max(widths))] -= 1
    lines = [
        "  ".join(_padded(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if len(lines) > 1:
        lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def _padded(text: str, width: int) -> str:
    if get_cwidth(text) > width:
        while text and get_cwidth(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - get_cwidth(text))
