"""What a print costs the program: with nobody there, with a client, and with other tools.

Each number is a ratio to a bare print, which is timed in turn with it. Bursts with pauses
between them show what a print costs while a client listens, without the work of sending:
the median over groups of 20 prints. A flood is all prints of some time, with all there is.
"""

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from programs import BARE, Usual, usual_launcher
from report import Report, Row
from subjects import ECHO, HISTORY, OUT_STREAM, Places, Subject

ROUNDS = 15
FLOODS = 9
# The bare and the dormant program differ in nothing but where the system has put them:
# so there are several of each.
STARTS = 3
FIRSTS = 100

# What is printed: the function in printing.py, and where to.
PRINTS = {
    "short line to a file": ("short_line", "file"),
    "short line to a pipe": ("short_line", "pipe"),
    "short line to a terminal": ("short_line", "terminal"),
    "200 characters": ("long_line", "file"),
    "print(a, b, c)": ("three_values", "file"),
    "sys.stdout.write": ("write", "file"),
    "print to stderr": ("to_stderr", "file"),
    "logging.info": ("logging_info", "file"),
}
CASES = [(what, threads) for threads in (1, 4) for what in PRINTS]
ECHOING = f"{OUT_STREAM}, echo"
BACKGROUND = "background-zmq-ipython"
REACH = {
    ("short line to a file", "attached"): 1.25,
    ("logging.info", "attached"): 1.15,
    ("short line to a file", "flood"): 1.4,
}


class Subjects:
    """All programs that are compared, running.

    Attributes:
        missing: why one of the others is not among them, if so.
    """

    def __init__(self, launch: Usual, places: Places) -> None:
        self._places = places
        self.missing: list[str] = []
        self.bare = [Subject(launch, BARE) for _ in range(STARTS)]
        self.dormant = [Subject(launch, {}) for _ in range(STARTS)]
        self.one_sided = [*self.bare, *self.dormant]
        self.two_sided = {
            "attached": Subject(launch, {}).attach(),
            "attached, history": Subject(launch, HISTORY).attach(),
            "dormant, history": Subject(launch, HISTORY),
            "wrapper class": Subject(launch, BARE),
            OUT_STREAM: Subject(launch),
            ECHOING: Subject(launch, None, ECHO),
        }
        for subject in self.two_sided.values():
            subject("to", self._places["file"])
            if subject.iopub is not None:
                subject.listen()
        self.two_sided["wrapper class"]("wrap")
        background = Subject(launch, {**BARE, "PYTHONWARNINGS": "ignore"})
        try:
            background("background_zmq_ipython", str(launch.home / "background.json"))
            self.two_sided[BACKGROUND] = background
        except Exception as error:
            self.missing.append(f"{BACKGROUND} is left out: {type(error).__name__}: {error}")

    def measure(self, what: str, threads: int) -> tuple[float, dict[str, float]]:
        """Return the nanoseconds of a bare print, and the ratios to it, by situation."""
        shape, place = PRINTS[what]
        for subject in (*self.one_sided, *self.two_sided.values()):
            subject("to", self._places[place])
        pairs = []
        for _ in range(ROUNDS):
            for two in zip(self.bare, self.dormant, strict=True):
                (bare,), (dormant,) = (
                    subject("measure", "burst", shape, threads, 1, [True])[0] for subject in two
                )
                pairs.append((bare, dormant))
        found = {"dormant": ratio(pairs)}
        for name, subject in self.two_sided.items():
            found[name] = ratio(subject("measure", "burst", shape, threads, ROUNDS))
            if name == "attached":
                found["flood"] = ratio(subject("measure", "flood", shape, threads, FLOODS))
        return statistics.median(bare for bare, _ in pairs), found

    def first(self) -> dict[str, tuple[float, float]]:
        """Return the microseconds of a print after quiet, bare and not, by situation."""
        found = {}
        for name in ("attached", OUT_STREAM):
            self.two_sided[name]("to", self._places["file"])
            times = self.two_sided[name]("measure", "first", "", 1, FIRSTS)
            bare, own = (statistics.median(side) / 1000 for side in zip(*times, strict=True))
            found[name] = (bare, own)
        return found


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Return how many times the first numbers the second ones are."""
    return statistics.median(own / bare for bare, own in pairs)


@pytest.fixture(scope="module")
def subjects() -> Iterator[Subjects]:
    with usual_launcher() as launch, Places(launch.home) as places:
        yield Subjects(launch, places)


@pytest.mark.parametrize(("what", "threads"), CASES)
def test_what_a_print_costs(
    benchmark: Any, subjects: Subjects, report: Report, what: str, threads: int
) -> None:
    bare, found = benchmark.pedantic(subjects.measure, args=(what, threads), rounds=1)
    benchmark.extra_info.update(bare_nanoseconds=bare, ratios=found)
    name = what if threads == 1 else f"{what}, {threads} threads"
    report.prints[name] = bare, found
    for situation in ("attached", "flood"):
        reach = REACH.get((what, situation)) if threads == 1 else None
        if reach:
            row = f"a print, {situation}: {name}"
            report.add(Row(row, bare * found[situation], "ns", "bare", bare, reach))


def test_what_a_print_costs_over_all(subjects: Subjects, report: Report) -> None:
    rows = report.prints.values()
    dormant = statistics.median(found["dormant"] for _, found in rows)
    report.add(Row("a print, dormant, median of all kinds", dormant, "", "bare", 1, 1.005))
    # where ours looks worst beside the other, which does the same only if it echoes
    for other, reach in ((ECHOING, 1), (OUT_STREAM, None)):
        worst = max(report.prints, key=partial(_beside, report, other))
        bare, found = report.prints[worst]
        ours, theirs = bare * found["attached"], bare * found[other]
        report.add(Row(f"a print, attached, at worst: {worst}", ours, "ns", other, theirs, reach))
    for name, (bare, own) in subjects.first().items():
        report.add(Row(f"the first print after quiet, {name}", own, "µs", "bare", bare))
    report.notes += subjects.missing


def _beside(report: Report, other: str, what: str) -> float:
    _, found = report.prints[what]
    return found["attached"] / found[other]
