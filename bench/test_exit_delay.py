"""How much later a program ends with a console, dormant and with a client attached."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import Client
from programs import BARE, Usual
from report import Report, Row

ROUNDS = 11
STARTS = 40

# Says when its last line ran.
ENDING = """
import os, sys, time
{first}
while not os.path.exists(sys.argv[1]): time.sleep(0.005)
print(time.monotonic(), flush=True)
"""
# In a program with a kernel in it the interpreter has the kernel's modules to clear.
KINDS = {
    "bare": ("", BARE),
    "importing ipykernel": ("import ipykernel.ipkernel", BARE),
    "dormant": ("", {}),
    "attached": ("", {}),
}


def milliseconds_to_end(launch: Usual, flag: Path, kind: str) -> float:
    """Return the milliseconds from a program's last line until its parent sees the end."""
    flag.unlink(missing_ok=True)
    first, env = KINDS[kind]
    program = launch(ENDING.format(first=first), str(flag), env=env)
    client = Client(program.connection_file).ready() if kind == "attached" else None
    if kind == "dormant":
        assert program.connection_file
    flag.touch()
    program.process.wait()  # without a time-out, which would look only every 50 ms
    ended = time.monotonic()
    if client is not None:
        client.close()
    return (ended - float(program.stdout)) * 1000


def test_delay_of_the_exit(launch: Usual, report: Report) -> None:
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind, found in taken.items():
            found.append(milliseconds_to_end(launch, launch.home / "end", kind))
    took = {kind: statistics.median(found) for kind, found in taken.items()}
    for kind in ("dormant", "attached"):
        what = f"last line to end, {kind}"
        report.add(Row(what, took[kind], "ms", "bare", took["bare"], 50, "difference"))
    other = "importing ipykernel"
    report.add(Row(what, took[kind], "ms", other, took[other]))


def test_wall_time_of_a_short_program(benchmark: Any, launch: Usual, report: Report) -> None:
    on, off = launch.environment(), launch.environment(RTCONSOLE=None)
    argv = [sys.executable, "-c", "pass"]
    bare = []

    def other() -> None:
        started = time.perf_counter()
        subprocess.run(argv, env=off, check=True)
        bare.append((time.perf_counter() - started) * 1000)

    options = {"args": (argv,), "kwargs": {"env": on, "check": True}}
    benchmark.pedantic(subprocess.run, **options, setup=other, rounds=STARTS, warmup_rounds=2)
    took = statistics.median(benchmark.stats.stats.data) * 1000
    report.add(Row("a short program, dormant", took, "ms", "off", statistics.median(bare[2:])))
