"""Fixtures: a launcher of programs, each test in a home folder of its own."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import EXAMPLES, Launcher, Program

# Programs inherit these ignored from a shell that runs the tests in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGQUIT"):
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# Likewise this from nohup; the tests themselves go on then.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def launch(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    """Start programs with it; they are ended after the test, and told of if it failed."""
    # not tmp_path, which is too long for sockets below it
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    launcher = Launcher(home)
    try:
        yield launcher
    finally:
        for program in launcher.programs:
            program.stop()
        if getattr(request.node, "failed", False):
            for program in launcher.programs:
                print(program.describe())
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def few_descriptors() -> Iterator[None]:
    """A module's tests close what they opened: those that come later run in the same process."""
    yield
    if os.path.isdir("/proc/self/fd"):
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) < 100


@pytest.fixture
def counter(launch: Launcher) -> Program:
    """The example program, counting."""
    program = launch(EXAMPLES / "counter.py")
    assert program.connection_file
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report


def pytest_report_header() -> str:
    import sys

    return f"rtconsole on {sys.executable} ({sys.version.partition(' ')[0]})"
