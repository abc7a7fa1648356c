"""The drawing of a run: what a print costs, and how soon it arrives, beside other tools."""

import math
from collections.abc import Iterator
from html import escape

from report import Report

# Situations that are drawn.
COLOURS = {
    "dormant": "#8a8a8a",
    "attached": "#2a78d6",
    "flood": "#7fb2ee",
    "wrapper class": "#d9a514",
    "background-zmq-ipython": "#b06fc4",
    "ipykernel OutStream": "#d1495b",
    "ipykernel OutStream, echo": "#7d1128",
}
LEFT, WIDTH, ROW, TOP, GAP = 220, 500, 24, 96, 90
CURVE = 200  # height of the lower half
STYLE = """text { fill: #808080 } .title { font-size: 15px; font-weight: bold }
.grid { stroke: #80808040 } .one { stroke: #808080 } polyline { fill: none; stroke-width: 2.5 }"""
COSTS = (0.8, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200)
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


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} class="{kind}">{escape(words)}</text>'


def dot(x: float, y: float, name: str, tip: str = "") -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[name]}"'
    return f"<circle {place}><title>{escape(tip or name)}</title></circle>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def axis(scale: Scale, top: float, bottom: float) -> Iterator[str]:
    for mark in scale.marks:
        yield line(scale(mark), top, scale(mark), bottom, "one" if mark == 1 else "grid")
        yield text(scale(mark), bottom + 16, f"{mark:g}", "middle")


def costs(report: Report, bottom: float) -> Iterator[str]:
    ratios = [ratio for _, found in report.prints.values() for ratio in found.values()]
    scale = Scale(ratios, COSTS)
    yield from axis(scale, TOP, bottom)
    for number, (what, (_, found)) in enumerate(report.prints.items()):
        y = TOP + ROW * (number + 0.5)
        yield text(LEFT - 12, y + 4, what, "end")
        yield line(LEFT, y, LEFT + WIDTH, y)
        for name in reversed([name for name in COLOURS if name in found]):
            yield dot(scale(found[name]), y, name, f"{what}, {name}: {found[name]:.2f}")


def arrivals(report: Report, top: float) -> Iterator[str]:
    scale = Scale([time for times in report.latencies.values() for time in times[5:-5]], TIMES)
    yield from axis(scale, top, top + CURVE)
    for share in (0, 50, 90, 100):
        y = top + CURVE * (1 - share / 100)
        yield line(LEFT, y, LEFT + WIDTH, y)
        yield text(LEFT - 12, y + 4, f"{share} %", "end")
    for name, times in report.latencies.items():
        heights = [top + CURVE * (1 - number / len(times)) for number in range(len(times))]
        pairs = list(zip(map(scale, times), heights, strict=True))[:: len(times) // 200 or 1]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
        yield f'<polyline stroke="{COLOURS[name]}" points="{points}"/>'


def drawing(report: Report) -> str:
    """Return the SVG."""
    bottom = TOP + ROW * len(report.prints)
    height = bottom + GAP + CURVE + 40
    parts = [text(16, 26, "What a print costs, in bare prints", kind="title")]
    for number, name in enumerate(COLOURS):
        x, y = 21 + 185 * (number % 4), 52 + 20 * (number // 4)
        parts += [dot(x, y, name), text(x + 10, y + 4, name)]
    parts += costs(report, bottom)
    parts.append(text(16, bottom + GAP - 24, "From print to receipt, in ms", kind="title"))
    parts += arrivals(report, bottom + GAP)
    size = f'viewBox="0 0 {LEFT + WIDTH + 40} {height:.0f}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>'
    return "\n".join([head, *parts, "</svg>\n"])
