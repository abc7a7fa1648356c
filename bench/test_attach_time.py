"""From connecting to the first reply, and what the program feels of it meanwhile."""

import json
import signal
import statistics
import time
from typing import Any

import pytest
from programs import QUIET, Usual, seconds_to_first_reply
from report import Report, Row

PAIRS = 15
ROUNDS = 5  # of what takes seconds, since the boot gets only what the program leaves it
ALONE = 2.0  # seconds that a program runs before somebody comes

BUSY = """
def compute():
    n = 0
    while True: n += 1
compute()
"""

# Both record when their main thread stood still for longer than a millisecond more than
# it meant to: at which time, for how many milliseconds. SIGTERM ends them.
STALLS = """
import json, signal
from time import monotonic, sleep
done, stalls = [], []
def run():
    last = monotonic()
    while not done:
        {pause}
        now = monotonic()
        if now - last > {pause_length} + 0.001:
            stalls.append((now, (now - last - {pause_length}) * 1000))
        last = now
signal.signal(signal.SIGTERM, lambda number, frame: done.append(number))
print("ready", flush=True)
run()
print(json.dumps(stalls))
"""
PAUSES = {
    "busy": STALLS.format(pause="", pause_length=0),
    "mostly asleep": STALLS.format(pause="sleep(0.002)", pause_length=0.002),
}


def seconds_of_plain_start(launch: Usual) -> float:
    """Start plain ipykernel and wait for its first reply; return the seconds it took."""
    started = time.perf_counter()
    kernel, path = launch.kernel()
    seconds_to_first_reply(path)
    taken = time.perf_counter() - started
    kernel.stop()
    return taken


def test_first_reply(benchmark: Any, launch: Usual, report: Report) -> None:
    plain = []

    def other() -> tuple[tuple[Any], dict[str, Any]]:
        plain.append(seconds_of_plain_start(launch) * 1000)
        return (launch(QUIET).connection_file,), {}

    # a round to warm up: all is compiled and in the disk cache after it
    benchmark.pedantic(seconds_to_first_reply, setup=other, rounds=PAIRS, warmup_rounds=1)
    ours = statistics.median(benchmark.stats.stats.data) * 1000
    theirs = statistics.median(plain[1:])
    for what, reach in (("first reply", 1), ("first reply, aim", 0.6)):
        report.add(Row(what, ours, "ms", "spawning ipykernel", theirs, reach))


def test_first_reply_of_a_computing_program(launch: Usual, report: Report) -> None:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(seconds_of_plain_start(launch) * 1000)
        program = launch(BUSY)
        ours.append(seconds_to_first_reply(program.connection_file) * 1000)
        program.stop()
    took, spawning = statistics.median(ours), statistics.median(theirs)
    what = "first reply, program computing"
    report.add(Row(what, took, "ms", "spawning ipykernel", spawning))


def longest_stalls(launch: Usual, source: str) -> tuple[float, float]:
    """Return the longest stall in milliseconds while a client comes, and in as long before."""
    program = launch(source)
    program.wait_for_output("ready")
    path = program.connection_file
    time.sleep(ALONE)
    began = time.monotonic()
    seconds_to_first_reply(path)
    time.sleep(0.1)  # it leaves; the boot's last stall may end now
    ended = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.wait() == 0, program.describe()
    stalls = json.loads(program.stdout.splitlines()[-1])

    def longest(since: float, until: float) -> float:
        return max((length for at, length in stalls if since <= at < until), default=0.0)

    return longest(began, ended), longest(began - min(ALONE, ended - began), began)


@pytest.mark.parametrize("kind", PAUSES)
def test_longest_stall_of_the_main_thread(launch: Usual, report: Report, kind: str) -> None:
    pairs = [longest_stalls(launch, PAUSES[kind]) for _ in range(ROUNDS)]
    attaching, alone = (statistics.median(found) for found in zip(*pairs, strict=True))
    what = f"longest stall while attaching, program {kind}"
    report.add(Row(what, attaching, "ms", "alone", alone, 30, "value"))
