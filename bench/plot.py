"""The drawing of a run: what a print costs, and how soon it arrives, beside other tools."""

import math
from collections.abc import Iterator
from html import escape

from report import Report

# Situations in the order of their marks in a row, with their colours; others are not drawn.
COLOURS = {
    "dormant": "#8a8a8a",
    "attached": "#2a78d6",
    "flood": "#7fb2ee",
    "wrapper class": "#d9a514",
    "background-zmq-ipython": "#b06fc4",
    "ipykernel OutStream": "#d1495b",
    "ipykernel OutStream, echo": "#7d1128",
}
LEFT, WIDTH, ROW, TOP, GAP = 200, 520, 26, 86, 90
CURVE = 200  # height of the lower half
COSTS = (0.9, 1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)
TIMES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


class Scale:
    """Positions on a logarithmic axis that holds ``values``, with those of the marks that fit."""

    def __init__(self, values: list[float], marks: tuple[float, ...]) -> None:
        low = max((mark for mark in marks if mark <= min(values)), default=marks[0])
        high = min((mark for mark in marks if mark >= max(values)), default=marks[-1])
        self.marks = [mark for mark in marks if low <= mark <= high]
        self._low, self._span = math.log(low), math.log(high / low)

    def __call__(self, value: float) -> float:
        share = (math.log(max(value, 1e-9)) - self._low) / self._span
        return LEFT + WIDTH * min(max(share, 0), 1)


def text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def axis(scale: Scale, top: float, bottom: float, unit: str) -> Iterator[str]:
    for mark in scale.marks:
        yield line(scale(mark), top, scale(mark), bottom, "one" if mark == 1 else "grid")
        yield text(scale(mark), bottom + 16, f"{mark:g}{unit}", "middle")


def costs(report: Report, bottom: float) -> Iterator[str]:
    """Yield a row of marks for each kind of print."""
    ratios = [ratio for _, found in report.prints.values() for ratio in found.values()]
    scale = Scale(ratios, COSTS)
    yield from axis(scale, TOP, bottom, "x")
    for number, (what, (_, found)) in enumerate(report.prints.items()):
        y = TOP + ROW * (number + 0.5)
        yield text(LEFT - 12, y + 4, what, "end")
        yield line(LEFT, y, LEFT + WIDTH, y)
        for name in reversed([name for name in COLOURS if name in found]):
            tip = f"<title>{escape(f'{what}, {name}: {found[name]:.2f}')}</title>"
            mark = f'cx="{scale(found[name]):.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[name]}"'
            yield f"<circle {mark}>{tip}</circle>"


def arrivals(report: Report, top: float) -> Iterator[str]:
    """Yield a curve for each way: the share of prints that arrived within a time."""
    scale = Scale([time for times in report.latencies.values() for time in times[5:-5]], TIMES)
    yield from axis(scale, top, top + CURVE, " ms")
    for share in (0, 50, 90, 99):
        y = top + CURVE * (1 - share / 100)
        yield line(LEFT, y, LEFT + WIDTH, y)
        yield text(LEFT - 12, y + (8 if share == 90 else 4), f"{share} %", "end")
    for name, times in report.latencies.items():
        step = max(1, len(times) // 200)
        points = (
            f"{scale(time):.1f},{top + CURVE * (1 - number * step / len(times)):.1f}"
            for number, time in enumerate(times[::step])
        )
        yield f'<polyline stroke="{COLOURS[name]}" points="{" ".join(points)}"/>'


def drawing(report: Report) -> str:
    """Return the SVG."""
    bottom = TOP + ROW * len(report.prints)
    height = bottom + GAP + CURVE + 40
    style = "text{fill:#808080}.title{font-size:15px;font-weight:bold}.grid{stroke:#80808040}"
    style += ".one{stroke:#808080}polyline{fill:none;stroke-width:2.5}"
    parts = [
        text(16, 26, "What a print costs, as a multiple of the bare one", more=' class="title"')
    ]
    x = 16.0
    for name, colour in COLOURS.items():
        parts.append(f'<circle cx="{x + 5:.0f}" cy="52" r="5" fill="{colour}"/>')
        parts.append(text(x + 15, 56, name))
        x += 34 + 6.6 * len(name)
    parts += costs(report, bottom)
    parts.append(
        text(16, bottom + GAP - 24, "From print to receipt by a client", more=' class="title"')
    )
    parts += arrivals(report, bottom + GAP)
    size = f'viewBox="0 0 {LEFT + WIDTH + 40} {height:.0f}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
    return "\n".join([head, *parts, "</svg>\n"])
