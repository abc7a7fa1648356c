"""What a console costs while nobody looks: memory, wake-ups, and forks."""

import statistics
import sys
import time
from pathlib import Path

import pytest
from harness import Client, Program
from programs import BARE, QUIET, Usual, numbers
from report import Report, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROUNDS = 7
FORKS = 50
WINDOW = 10.0  # seconds in which wake-ups are counted

MEMORY = """
import json
with open("/proc/self/smaps_rollup") as file:
    fields = dict(line.split(":") for line in list(file)[1:])
print(json.dumps({name: int(value.split()[0]) / 1024 for name, value in fields.items()}))
"""

FORK = f"""
import json, os
from time import perf_counter
took = []
for _ in range({FORKS}):
    started = perf_counter()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    took.append((perf_counter() - started) * 1000)
print(json.dumps(took))
"""


def test_memory(launch: Usual, report: Report) -> None:
    bare, dormant = [], []
    for _ in range(ROUNDS):
        bare.append(numbers(launch(MEMORY, env=BARE)))
        dormant.append(numbers(launch(MEMORY)))
    # proc(5): Pss counts a page that n processes share as 1/n of a page
    for what, field, reach in (("private", "Private_Dirty", None), ("proportional", "Pss", 0.5)):
        ours, theirs = (statistics.median(m[field] for m in found) for found in (dormant, bare))
        what = f"memory, dormant, {what}"
        report.add(Row(what, ours, "MB", "bare", theirs, reach, "difference"))


def wake_ups(program: Program) -> int:
    """Return how often all threads but the main one were switched to."""
    switches = 0
    for task in Path(f"/proc/{program.pid}/task").iterdir():
        if int(task.name) != program.pid:
            for line in (task / "status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name.endswith("voluntary_ctxt_switches"):
                    switches += int(value)
    return switches


def test_wake_ups(launch: Usual, report: Report) -> None:
    dormant, left, attached = launch(QUIET), launch(QUIET), launch(QUIET)
    for program in (left, attached):
        client = Client(program.connection_file).ready()
        if program is left:
            client.close()
    assert dormant.connection_file
    try:
        time.sleep(1)  # until start and boot are over
        before = {program: wake_ups(program) for program in (dormant, left, attached)}
        time.sleep(WINDOW)
        found = {program: wake_ups(program) - before[program] for program in before}
    finally:
        client.close()
    unit = f"in {WINDOW:.0f} s"
    report.add(Row("wake-ups, dormant", found[dormant], unit, reach=0, by="value"))
    report.add(Row("wake-ups, after a client left", found[left], unit))
    report.add(Row("wake-ups, with an idle client and its heartbeat", found[attached], unit))


def test_time_until_a_console_is_there(launch: Usual, report: Report) -> None:
    # by the connection file's own time, so that nobody looks for it meanwhile
    took = []
    for _ in range(3 * ROUNDS):
        started = time.time()
        program = launch(QUIET)
        took.append((program.connection_file.stat().st_mtime - started) * 1000)
        program.stop()
    for what, value in (("at most", max(took)), ("median", statistics.median(took))):
        report.add(Row(f"from start to console, {what}", value, "ms", reach=100, by="value"))


def test_forks(launch: Usual, report: Report) -> None:
    first: dict[str, list[float]] = {"bare": [], "dormant": []}
    later: dict[str, list[float]] = {"bare": [], "dormant": []}
    for _ in range(ROUNDS):
        for name, env in (("bare", BARE), ("dormant", {})):
            took = numbers(launch(FORK, env=env))
            first[name].append(took[0])
            later[name] += took[1:]
    for what, taken in (("fork and wait, the first", first), ("fork and wait", later)):
        bare, dormant = (statistics.median(taken[name]) for name in ("bare", "dormant"))
        report.add(Row(what, dormant, "ms", "bare", bare, 2, "difference"))
