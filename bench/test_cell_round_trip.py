"""From sending a cell to its reply and the idle status, in a console and in plain ipykernel."""

import statistics
import time
from typing import Any

from harness import Client
from programs import QUIET, Usual
from report import Report, Row

CELLS = 300
WARM_UP = 20


def test_a_cells_round_trip(benchmark: Any, launch: Usual, report: Report) -> None:
    _, path = launch.kernel()
    there = Client(path).ready()
    here = Client(launch(QUIET).connection_file).ready()
    theirs = []

    def other() -> None:
        started = time.perf_counter()
        there.run("1")
        theirs.append((time.perf_counter() - started) * 1000)

    try:
        benchmark.pedantic(here.run, args=("1",), setup=other, rounds=CELLS, warmup_rounds=WARM_UP)
    finally:
        here.close()
        there.close()
    ours = statistics.median(benchmark.stats.stats.data) * 1000
    plain = statistics.median(theirs[WARM_UP:])
    report.add(Row("a cell's round trip", ours, "ms", "ipykernel", plain, 1))
