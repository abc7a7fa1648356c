"""Programs that run Python in Python: pytest-xdist, nox, tox, and a venv of its own below them."""

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Launcher, wait_for
from serving import Ended, Server, children, same_with_and_without, tool

# A test that goes on until it sees what a cell has changed, or is told to stop.
TESTS = """
import os, time
import pytest
import helper

@pytest.mark.parametrize("number", range(2))
def test_goes_on(number, capsys):
    print("captured")
    open(f"runs-{os.getpid()}", "w").close()
    while not os.path.exists("stop"): time.sleep(0.01)
    assert helper.value == os.environ["WANTED"]
    assert capsys.readouterr().out == "captured\\n"
"""
HELPER = "value = 'plain'"
NOXFILE = """
import nox

@nox.session(venv_backend="none")
def tests(session):
    session.run(*session.posargs, external=True)
"""
TOX = """
[tox]
skipsdist = true
[testenv]
skip_install = true
pass_env = *
allowlist_externals = *
commands = {posargs}
"""


def prepare(launch: Launcher) -> None:
    launch.script(TESTS, "test_inner.py")
    launch.script(HELPER, "helper.py")
    (launch.home / "stop").unlink(missing_ok=True)
    for path in launch.home.glob("runs-*"):
        path.unlink()


def running(launch: Launcher, number: int) -> set[int]:
    """Return the pids of the processes in which the tests run, once there are that many."""

    def pids() -> set[int]:
        return {int(path.name[5:]) for path in launch.home.glob("runs-*")}

    wait_for(lambda: len(pids()) == number, f"{number} tests")
    return pids()


def changed_where_the_tests_run(
    launch: Launcher, words: list[str], watched: bool, number: int
) -> Ended:
    """Attach to each process that runs tests, and make there what the tests are to see."""
    prepare(launch)
    wanted = "changed" if watched else "plain"
    server = Server(launch, words, watched=watched, env={"WANTED": wanted, "NO_COLOR": "1"})
    inner = running(launch, number)
    between = children(server.pid)
    assert inner <= between | {server.pid}
    server.known |= between
    server.check_list({server.pid, *between})
    with ExitStack() as stack:
        for client in server.connect(stack, inner).values():
            reply = client.run("import helper; helper.value = 'changed'; print('to the client')")
            assert (reply.status, reply.stdout) == ("ok", "to the client\n"), reply
        (launch.home / "stop").touch()
        return server.ended()


def test_workers_of_xdist_are_changed_while_tests_run(launch: Launcher) -> None:
    pytest.importorskip("xdist")

    def scenario(watched: bool) -> Ended:
        words = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider"]
        return changed_where_the_tests_run(launch, [*words, "test_inner.py"], watched, 2)

    code, out, errors = same_with_and_without(scenario)
    assert (code, errors) == (0, ""), out


@pytest.mark.parametrize("runner", ["nox", "tox"])
def test_pytest_under_a_runner_is_changed_while_it_runs(launch: Launcher, runner: str) -> None:
    pytest.importorskip(runner)
    launch.script(NOXFILE, "noxfile.py")
    launch.script(TOX, "tox.ini")

    def scenario(watched: bool) -> Ended:
        words = {"nox": ["-s", "tests", "--"], "tox": ["run", "--"]}[runner]
        inner = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_inner.py"]
        select = ["-k", "0"]
        code, out, errors = changed_where_the_tests_run(
            launch, [*tool(runner), *words, *inner, *select], watched, 1
        )
        # nox says how long it took, if that was long enough
        return code, out, re.sub(r"(?<=successful) in .*(?=\.)", "", errors)

    code, out, _ = same_with_and_without(scenario)
    assert code == 0, out


def test_a_venv_without_rtconsole_below_a_program_with_it_works_as_without(
    launch: Launcher,
) -> None:
    venv = launch.home / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    script = """
        import subprocess, sys, time
        if len(sys.argv) == 2: subprocess.run([sys.argv[1], __file__], check=True)
        print("ends", flush=True)
        """
    path = launch.script(script, "nested.py")

    def scenario(watched: bool) -> Ended:
        words = [sys.executable, str(path), str(Path(venv) / "bin/python")]
        server = Server(launch, words, watched=watched)
        return server.ended()

    assert same_with_and_without(scenario) == (0, "ends\nends", "")
