"""Without the interpreter lock (PEP 703) there is no console, and where that is on there is one."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from harness import Launcher, wait_for

import sitehook
from rtconsole import room

REASON = "Python without the interpreter lock gets no console"


@pytest.mark.parametrize("has_lock", [sitehook.has_lock, room.has_lock])
def test_the_interpreter_is_asked(
    monkeypatch: pytest.MonkeyPatch, has_lock: Callable[[], bool]
) -> None:
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert has_lock()  # up to 3.12
    for is_on in (False, True):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda is_on=is_on: is_on, raising=False)
        assert has_lock() is is_on


def test_a_program_without_the_lock_is_left_alone_and_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RTCONSOLE", "1")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert REASON in str(sitehook.off_because())
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True)
    assert sitehook.off_because() is None


def test_who_asks_for_a_console_without_the_lock_is_told(launch: Launcher) -> None:
    program = launch(
        """
        import sys
        sys._is_gil_enabled = lambda: False
        import rtconsole
        try: rtconsole.start_console()
        except RuntimeError as error: print(error)
        """,
        env={"RTCONSOLE": "0"},
    )
    assert program.wait() == 0
    assert REASON in program.stdout


@pytest.mark.skipif(room.has_lock(), reason="this interpreter has the lock")
def test_it_depends_on_the_lock_not_on_the_build(launch: Launcher) -> None:
    program = launch("import sys; print(sys._is_gil_enabled())")
    assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("False\n", "")
    assert REASON in program.log
    locked = launch("import time\nwhile True: time.sleep(0.1)", env={"PYTHON_GIL": "1"})
    wait_for(locked.connection_file_of(locked.pid).exists, "a console")
    with locked.client() as client:
        assert client.run("6 * 7").result == "42"
    told = subprocess.run(
        [sys.executable, "-m", "rtconsole", "doctor"], capture_output=True, text=True, check=False
    )
    assert REASON in told.stdout + told.stderr
