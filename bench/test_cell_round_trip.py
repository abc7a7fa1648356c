"""From sending a cell to its reply and the idle status, in a console and in plain ipykernel."""

import statistics
import time
from typing import Any

import pytest
from harness import Client
from programs import QUIET, Usual
from report import Report, Row

CELLS = 300
WARM_UP = 20
ROUNDS = 5  # of what is done once in a program

# Each system call of another thread lets go of the interpreter, and where that thread has a
# processor of its own the program takes it each time.
COMPUTING = """
import os
first, *others = sorted(os.sched_getaffinity(0))
for thread in os.listdir("/proc/self/task") if others else ():
    os.sched_setaffinity(int(thread), others)
os.sched_setaffinity(0, [first])
while True: pass
"""
ONCE = {
    "the first traceback": "1 / 0",
    "a cell that starts a thread": "import threading; threading.Thread(target=int).start()",
}


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


@pytest.mark.parametrize("what", ONCE)
def test_what_is_done_once_beside_a_program_that_computes(
    launch: Usual, report: Report, what: str
) -> None:
    took: dict[str, list[float]] = {QUIET: [], COMPUTING: []}
    for _ in range(ROUNDS):
        for source, seconds in took.items():
            program = launch(source)
            client = Client(program.connection_file).ready()
            try:
                client.run("1")
                started = time.perf_counter()
                client.run(ONCE[what], patience=60)
                seconds.append(time.perf_counter() - started)
            finally:
                client.close()
                program.stop()
    asleep, computing = (statistics.median(seconds) * 1000 for seconds in took.values())
    report.add(Row(f"{what}, program computing", computing, "ms", "asleep", asleep))
