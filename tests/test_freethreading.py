"""Without the interpreter lock (PEP 703) a console works, or stays off; it never brings it back."""

import sys

import pytest
from harness import Launcher, wait_for

import sitehook
from rtconsole.kernel import freethreading


@pytest.mark.parametrize(
    ("lock_is_off", "version", "pyzmq", "is_served"),
    [
        (False, (3, 13), "26.0.3", True),
        (False, (3, 15), "27.3.0", True),
        (True, (3, 13), "27.1.0", False),
        (True, (3, 14), "26.0.3", False),
        (True, (3, 14), "26.1.0", False),
        (True, (3, 14), "26.2.0", True),
        (True, (3, 15), "28.0.0rc1", True),
    ],
)
def test_there_is_a_kernel_only_where_it_changes_nothing(
    lock_is_off: bool, version: tuple[int, int], pyzmq: str, is_served: bool
) -> None:
    reason = freethreading.reason_against(lock_is_off, version, pyzmq)
    assert (reason is None) is is_served
    if reason:
        assert "the interpreter lock" in reason


@pytest.mark.parametrize(
    ("version", "is_locked", "is_off"),
    [
        ((3, 12), False, False),  # it has the lock, and no function to ask for it
        ((3, 13), True, False),
        ((3, 13), False, True),
        ((3, 14), False, False),
    ],
)
def test_it_stays_off_where_a_fork_beside_it_hangs(
    version: tuple[int, int], is_locked: bool, is_off: bool
) -> None:
    assert sitehook.forks_badly(version, is_locked) is is_off


def test_the_check_asks_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "26.0.3")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(ImportError, match="interpreter lock"):
        freethreading.check()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True)
    freethreading.check()


def is_lock_on() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


@pytest.mark.skipif(is_lock_on(), reason="this interpreter has the lock")
def test_a_visit_leaves_a_program_without_the_lock_without_it(launch: Launcher) -> None:
    program = launch("""
        import sys, time
        t = 41
        while t < 43:
            time.sleep(0.01)
        print(sys._is_gil_enabled(), flush=True)
    """)
    if sys.version_info < (3, 14):
        wait_for(lambda: "the interpreter lock gets no console" in program.log, "the reason")
        assert not program.connection_file_of(program.pid).exists()
        return
    with program.client() as client:
        assert client.value("t") == 41
        assert client.value("__import__('sys')._is_gil_enabled()") is False
        client.run("t = 43")
    assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("False\n", "")
