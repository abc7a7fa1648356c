"""What ``rtconsole-list`` takes: its start alone, over 100 dormant processes, and over 1,000."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Program, wait_for
from programs import BARE, Usual
from report import Report, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STARTS = 20
LIST = [str(Path(sys.executable).with_name("rtconsole-list"))]


def milliseconds(argv: list[str], env: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


@contextmanager
def dormant(launch: Usual, count: int) -> Iterator[Program]:
    """Have ``count`` dormant processes, children of one; they end with it."""
    source = f"""
    import ctypes, os, signal, time
    for _ in range({count} - 1):
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            while True: time.sleep(60)
    while True: time.sleep(60)
    """
    program = launch(source, name="many.py")
    folder = program.connection_file.parent
    try:
        wait_for(lambda: len(list(folder.glob("kernel-rt-*.json"))) >= count, "all consoles", 300)
        yield program
    finally:
        program.stop()


def test_start_of_the_command(benchmark: Any, launch: Usual, report: Report) -> None:
    env = launch.environment(**BARE)
    bare = []

    def other() -> None:
        bare.append(milliseconds([sys.executable, "-c", "pass"], env))

    words = [*LIST, "--cwd", str(launch.home)]
    benchmark.pedantic(milliseconds, (words, env), setup=other, rounds=STARTS, warmup_rounds=2)
    took = statistics.median(benchmark.stats.stats.data) * 1000
    base = statistics.median(bare[2:])
    report.add(Row("rtconsole-list, no process", took, "ms", "python -c pass", base, 150, "value"))


@pytest.mark.parametrize("count", [100, 1000])
def test_a_list_of_many(launch: Usual, report: Report, count: int) -> None:
    env = launch.environment(**BARE)
    alone = statistics.median(milliseconds(LIST, env) for _ in range(5))
    with dormant(launch, count):
        took = statistics.median(milliseconds(LIST, env) for _ in range(5))
        shown = subprocess.run(LIST, env=env, check=True, capture_output=True, text=True).stdout
    assert len(shown.splitlines()) > count
    reach = 1000 if count == 1000 else None
    what = f"rtconsole-list, {count} dormant processes"
    report.add(Row(what, took, "ms", "without them", alone, reach, "value"))
