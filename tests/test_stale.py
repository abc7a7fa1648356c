"""Programs that go on while the package is upgraded, or removed, on the disk."""

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from commands import run
from harness import Client, Launcher, Program, wait_for

import rtconsole

PROGRAM = """
import os, sys, warnings
warnings.simplefilter("error")
print("ready", flush=True)
for line in sys.stdin:
    if pid := os.fork():
        print("waited", os.waitpid(pid, 0)[1], flush=True)
    else:
        sys.exit(0)
print("end")
"""


def start(launch: Launcher, forks_first: bool = False, more: str = "") -> Program:
    """Start a program that has the package from a folder of its own, and ``more`` to begin with."""
    folder = launch.home / "lib" / "rtconsole"
    shutil.copytree(Path(rtconsole.__file__).parent, folder)
    env = {"PYTHONPATH": str(folder.parent)}
    program = launch(more + PROGRAM, env=env, stdin=subprocess.PIPE)
    program.wait_for_output("ready")
    assert program.connection_file
    if forks_first:
        fork(program, 1)
    return program


def fork(program: Program, count: int) -> None:
    assert program.process.stdin is not None
    program.process.stdin.write(b"\n")
    program.process.stdin.flush()
    wait_for(lambda: program.stdout.count("waited 0") == count, "the child to end")


def put(launch: Launcher, name: str, before: str = "") -> None:
    """Put the package there anew, one of its files with a line more."""
    folder = launch.home / "lib" / "rtconsole"
    shutil.rmtree(folder)
    shutil.copytree(Path(rtconsole.__file__).parent, folder)
    file = folder / name
    file.write_text(before + file.read_text())
    for cached in folder.glob(f"__pycache__/{file.stem}.*"):
        cached.unlink()


def end(program: Program) -> None:
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert program.wait() == 0
    assert program.stderr == ""
    assert program.stdout.endswith("end\n")
    assert not list(program.runtime_dir.glob("*.json"))


@pytest.mark.parametrize("forks_first", [False, True], ids=["", "forked"])
@pytest.mark.parametrize("name", ["listener.py", "__init__.py"])
def test_who_attaches_after_an_upgrade_is_told_so(
    launch: Launcher, name: str, forks_first: bool
) -> None:
    program = start(launch, forks_first)
    put(launch, name, "# another\n")
    for _ in range(2):
        with program.client() as client:
            client.send("1 + 1")
            assert "was upgraded since" in client.iopub("error")["content"]["evalue"]
    wait_for(program.rests, "it to wait again")
    fork(program, 1 + forks_first)
    end(program)


def test_the_same_package_put_there_anew_is_no_upgrade(launch: Launcher) -> None:
    parts = "embed", "room", "descriptors", "native", "unusual", "processes", "kernel.namespace"
    program = start(launch, more="".join(f"import rtconsole.{part}\n" for part in parts))
    put(launch, "listener.py")
    os.utime(launch.home / "lib" / "rtconsole" / "__init__.py")
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
    end(program)


@pytest.mark.parametrize("forks_first", [False, True], ids=["", "forked"])
def test_a_program_goes_on_when_the_package_is_removed(launch: Launcher, forks_first: bool) -> None:
    program = start(launch, forks_first)
    file = program.connection_file
    shutil.rmtree(launch.home / "lib")
    with closing(Client(file)) as client:
        client.send("1 + 1")
        wait_for(lambda: not file.exists(), "the console to close")
    fork(program, 1 + forks_first)
    end(program)


@pytest.mark.parametrize(
    "words", [["exec", "-", "1 + 1"], ["tail", "-"], ["stack", "-"]], ids=["exec", "tail", "stack"]
)
def test_a_command_says_so_in_a_line(launch: Launcher, words: list[str]) -> None:
    program = start(launch)
    put(launch, "listener.py", "# another\n")
    done = run(launch, *(word.replace("-", str(program.pid)) for word in words))
    assert done.returncode == 3, done
    assert done.stdout == ""
    told = f"rtconsole: program.py ({program.pid}) has no console: rtconsole was upgraded since"
    assert done.stderr.startswith(told), done.stderr
    assert done.stderr.count("\n") == 1
    end(program)


def test_a_kernel_that_runs_goes_on_after_an_upgrade(launch: Launcher) -> None:
    program = start(launch, forks_first=True)
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
        put(launch, "listener.py", "# another\n")
        put(launch, "kernel/app.py", "# another\n")
        assert client.run("1 / 0").error == "ZeroDivisionError"
        assert client.run("print('printed')").stdout == "printed\n"
        assert client.run("import subprocess; subprocess.run(['true'])").status == "ok"
        assert client.run("%threads").status == "ok"
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
    end(program)
