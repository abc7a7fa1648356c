"""Containers, made of namespaces: what shares a folder need not share pids, clock or host name."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import alike
import pytest
from commands import may_unshare, run
from harness import Client, Launcher, Program, wait_for

PIDS = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
SLEEP = "import time\nwhile True: time.sleep(0.01)"


pytestmark = pytest.mark.skipif(
    not may_unshare("--pid", "--fork", "--mount-proc"), reason="no namespaces of our own here"
)


def contained(launch: Launcher, source: str = SLEEP, *also: str, **options: Any) -> Program:
    """Start a program in a pid namespace of its own, where its pid is 1."""
    return launch(source, python=[*PIDS, *also, sys.executable], **options)


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["rtconsole"]  # type: ignore[no-any-return]


def connection_files(program: Program, number: int) -> list[Path]:
    """Wait for so many connection files, and return them."""

    def found() -> list[Path] | None:
        paths = sorted(program.runtime_dir.glob("kernel-rt-*.json"))
        return paths if len(paths) == number else None

    paths: list[Path] = wait_for(found, f"{number} connection files")
    return paths


def value(path: Path, expression: str) -> Any:
    with closing(Client(path)) as client:
        return client.ready().value(expression)


def listed(launch: Launcher) -> list[dict[str, Any]]:
    done = run(launch, "list", "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    rows = json.loads(done.stdout)
    for row in rows:  # by way of /proc/<pid>/root, if it has mounts of its own
        row["connection_file"] = re.sub("^/proc/[0-9]+/root", "", row["connection_file"])
        # and without what changes: the last client may just be leaving
        del row["cpu_percent"], row["rss"], row["clients"], row["state"]
    return [row for row in rows if row["connection_file"].startswith(f"{launch.home}/")]


def end(program: Program) -> None:
    """End a container's first process, which minds no signal that it has no handler for."""
    outside = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(program.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(outside.stdout), signal.SIGKILL)
    program.wait()


@pytest.mark.parametrize("own_sockets", [True, False], ids=["own sockets", "shared sockets"])
def test_two_containers_with_one_folder_and_one_pid_leave_each_other_alone(
    launch: Launcher, own_sockets: bool
) -> None:
    programs = []
    for name in ("first", "second"):
        env: dict[str, str | None] = {}
        if own_sockets:
            (launch.home / name).mkdir(mode=0o700)
            env["XDG_RUNTIME_DIR"] = str(launch.home / name)
        source = f"name = {name!r}\n{SLEEP}"
        programs.append(contained(launch, source, "--net", env=env, name=f"{name}.py"))
        paths = connection_files(programs[-1], len(programs))
    first = programs[0]
    assert [told(path)["pid"] for path in paths] == [1, 1]
    by_name = {value(path, "name"): path for path in paths}
    assert by_name.keys() == {"first", "second"}
    assert by_name["first"].name == "kernel-rt-1.json"
    rows = listed(launch)  # from outside, each by the pid that it has there
    assert {Path(row["connection_file"]) for row in rows} == set(paths)
    assert len({row["pid"] for row in rows}) == 2
    for row in rows:
        expected = {path: name for name, path in by_name.items()}[Path(row["connection_file"])]
        done = run(launch, "exec", str(row["pid"]), "print(name)")
        assert done.stdout == f"{expected}\n", done
    # whoever ends, or lists, in yet another container removes nothing of theirs
    third = contained(launch, "print('third')", "--net", name="third.py")
    assert third.wait() == 0, third.describe()
    assert listed(launch) == rows
    assert connection_files(first, 2) == paths
    assert value(by_name["first"], "name") == "first"
    assert value(by_name["second"], "name") == "second"


@pytest.mark.parametrize("own_sockets", [True, False], ids=["own sockets", "shared sockets"])
def test_what_a_dead_container_left_costs_the_next_no_console(
    launch: Launcher, own_sockets: bool
) -> None:
    env = {"XDG_RUNTIME_DIR": None, "TMPDIR": str(launch.home)} if own_sockets else {}
    dead = contained(launch, env=env)
    connection_files(dead, 1)
    end(dead)
    following = contained(launch, SLEEP, name="following.py")

    def own() -> list[Path]:
        paths = following.runtime_dir.glob("kernel-rt-*.json")
        return [path for path in paths if "following.py" in path.read_text()]

    # beside the dead one's, or in its place if the system reuses the namespace's number
    (path,) = wait_for(own, "its file")
    assert value(path, "__import__('sys').argv[0]").endswith("following.py")


def test_a_program_that_execs_keeps_the_name_that_it_found_free(launch: Launcher) -> None:
    first = contained(launch)
    (of_first,) = connection_files(first, 1)
    go = launch.home / "go"
    second = contained(
        launch,
        f"""
        import os, sys, time
        while not os.path.exists({str(go)!r}): time.sleep(0.01)
        os.execv(sys.executable, [sys.executable, "-c", {SLEEP!r}])
        """,
        name="second.py",
    )
    (path,) = set(connection_files(second, 2)) - {of_first}
    before = path.read_text()
    go.touch()
    wait_for(lambda: path.read_text() != before, "the second program's file")
    assert connection_files(second, 2) == sorted([path, of_first])
    assert value(path, "__import__('sys').orig_argv[1]") == "-c"
    assert value(of_first, "__import__('os').getpid()") == 1


@pytest.mark.parametrize("state", ["dormant", "attached"])
def test_a_container_whose_first_process_it_is_ends_and_reaps_as_without_us(
    launch: Launcher, state: str
) -> None:
    source = """
import subprocess
# an orphan, which becomes a child of the first process
subprocess.run(["sh", "-c", "sleep 0.05 & :"], check=True)
print(os.getpid(), os.waitpid(-1, 0)[1], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(1, signal.SIGHUP)  # for the first process that is nothing
os.kill(1, signal.SIGTERM)
"""
    container = {"python": [*PIDS, sys.executable]}
    expected = alike.outcome(launch, source, "without", **container)
    assert expected == (7, "1 0\n", "")
    program = launch(alike.PRELUDE + source, cwd=launch.home, **container)
    (path,) = connection_files(program, 1)
    if state == "attached":
        with closing(Client(path)) as client:
            assert client.ready().value("os.getpid()") == 1
            (launch.home / "go").touch()
            program.wait()
    else:
        (launch.home / "go").touch()
    assert (program.wait(), program.stdout, program.stderr) == expected
    assert alike.files(launch) == []


@pytest.mark.skipif(not may_unshare("--uts"), reason="no host name of our own here")
def test_a_host_that_is_given_another_name_costs_no_live_process_its_console(
    launch: Launcher,
) -> None:
    rename = "import socket; socket.sethostname('renamed')"
    python = ["unshare", "--uts", sys.executable]
    program = launch(f"{rename}\n{SLEEP}", python=python)
    assert program.connection_file
    (row,) = wait_for(lambda: listed(launch), "the list")
    assert row["pid"] == program.pid
    other = launch(rename, python=python, name="other.py")
    assert (other.wait(), other.stderr) == (0, "")
    with program.client() as client:
        assert client.value("socket.gethostname()") == "renamed"
        fork = "import os; pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)[1]"
        assert client.run(fork).result == "0"


@pytest.mark.skipif(not may_unshare("--time", "--boottime=99999"), reason="no time of our own here")
def test_a_process_with_a_clock_of_its_own_is_found_and_reached(launch: Launcher) -> None:
    clock = ["unshare", "--fork", "--time", "--boottime=99999", "--monotonic=99999"]
    program = launch(f"t = 42\n{SLEEP}", python=[*clock, "--kill-child", sys.executable])
    (path,) = connection_files(program, 1)
    (row,) = listed(launch)
    assert row["pid"] == told(path)["pid"] != program.pid
    assert value(path, "t") == 42
    short = launch("pass", name="short.py")  # its end removes what is dead
    assert short.wait() == 0
    assert path.exists()
