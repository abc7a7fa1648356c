"""Fixtures of the benchmarks, and the table at the end of the run."""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # for the harness

import plot  # noqa: E402
from programs import Usual, usual_launcher  # noqa: E402
from report import Report  # noqa: E402

RESULTS = HERE / "results" / "latest.md"
PLOT = HERE / "results" / "print-cost.svg"
REPORT = pytest.StashKey[Report]()
# Files in the order of a console's life, which is the order of the table.
ORDER = ("start_up", "dormant", "attach", "cell", "print", "output", "list", "exit", "footprint")


def pytest_configure(config: pytest.Config) -> None:
    config.option.benchmark_quiet = True  # one table is enough
    # Raised in the benchmark, so that what it started is ended; the default ends only pytest.
    config.option.timeout, config.option.timeout_method = 600, "signal"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    config.stash[REPORT] = Report(
        f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [part not in item.path.name for part in ORDER])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    report = config.stash[REPORT]
    if not report.rows:
        return
    terminalreporter.section(f"rtconsole on {report.taken_on}")
    terminalreporter.write_line(report.text())
    report.write(RESULTS)
    terminalreporter.write_line(f"\nwritten to {RESULTS}")
    if report.prints and report.latencies:
        PLOT.write_text(plot.drawing(report), encoding="utf-8")
        terminalreporter.write_line(f"drawn in {PLOT}")


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Report:
    """The table, to add rows to."""
    return pytestconfig.stash[REPORT]


@pytest.fixture
def launch() -> Iterator[Usual]:
    """Start programs with it; they are ended after the benchmark."""
    with usual_launcher() as launcher:
        yield launcher
