"""Boots that fail, and what comes after: who rings when the reason is over has a console."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from harness import Client, Launcher, Program, wait_for

# A program in which a boot fails from before it says that it is ready until it is told to mend it;
# then it goes on when it is told to.
PROGRAM = """
import os, posix, sys, warnings
warnings.simplefilter("error")

def told():
    while (letter := posix.read(0, 1)) != b"\\n":
        if not letter:
            sys.exit("too soon")

BREAK
posix.write(1, b"broken\\n")
told()
MEND
posix.write(1, b"mended\\n")
told()
THEN
print("end")
"""

# What a boot fails by: how it begins, how it ends, and what a client is told meanwhile.
FORBIDDEN = 'def forbidden(*_, **__): raise RuntimeError("forbidden")\n'
LIMITED = """
import resource
before = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file: pages = int(file.read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (300 << 20), before[1]))
"""
CASES = {
    "a function": (
        FORBIDDEN + "found, os.stat = os.stat, forbidden",
        "os.stat = found",
        "RuntimeError: forbidden",
    ),
    "a method": (
        FORBIDDEN + "from threading import Thread; found, Thread.start = Thread.start, forbidden",
        "Thread.start = found",
        "RuntimeError: forbidden",
    ),
    "a base class": (
        "import logging; found, logging.Logger = logging.Logger, None",
        "logging.Logger = found",
        "Error",
    ),
    "another system": ("os.name = 'nt'", "os.name = 'posix'", "os.name"),
    "another platform": ("sys.platform = 'win32'", "sys.platform = 'linux'", "sys.platform"),
    "little memory": (LIMITED, "resource.setrlimit(resource.RLIMIT_AS, before)", "MemoryError"),
}


def start(launch: Launcher, what: str, then: str = "") -> Program:
    broken, mended, _ = CASES[what]
    source = PROGRAM.replace("BREAK", broken).replace("MEND", mended).replace("THEN", then)
    return launch(source, stdin=subprocess.PIPE)


def tell(program: Program) -> None:
    assert program.process.stdin is not None
    program.process.stdin.write(b"\n")
    program.process.stdin.flush()


def tasks_and_descriptors(program: Program) -> tuple[int, int]:
    process = Path(f"/proc/{program.pid}")
    opened = [os.path.realpath(fd) for fd in (process / "fd").iterdir()]
    # newer versions of that keep their own file open once there was a callback
    opened = [path for path in opened if "libffi" not in path]
    return len(os.listdir(process / "task")), len(opened)


@contextmanager
def refused(program: Program, reason: str) -> Iterator[None]:
    """Have a client that is told why there is no kernel, and stays for the with block."""
    with program.client() as client:
        client.send("1 + 1")
        error = client.iopub("error")["content"]
        assert error["ename"] == "NoConsole"
        assert reason in error["evalue"], error
        yield


@pytest.mark.parametrize("what", CASES)
def test_who_comes_when_it_is_over_has_a_console(launch: Launcher, what: str) -> None:
    program = start(launch, what, "import pathlib; print(pathlib.Path('a') / 'b')")
    program.wait_for_output("broken")
    assert program.connection_file
    dormant = tasks_and_descriptors(program)
    for _ in range(2):
        with refused(program, CASES[what][2]):
            pass
        wait_for(lambda: tasks_and_descriptors(program) == dormant, "all to be as before")
    tell(program)
    program.wait_for_output("mended")

    def is_served() -> bool:
        with program.client() as client:
            reply = client.run("6 * 7")
        return reply.result == "42"

    wait_for(is_served, "a console")
    tell(program)
    assert program.wait() == 0
    assert program.stdout == "broken\nmended\na/b\nend\n"
    assert program.stderr == ""
    assert not list(program.runtime_dir.glob("*.json"))


def test_a_fork_after_a_refusal_is_as_before_it(launch: Launcher) -> None:
    program = start(launch, "a function", "if os.fork(): os.wait(); told()\nelse: told()")
    program.wait_for_output("broken")
    dormant = tasks_and_descriptors(program)
    with refused(program, "forbidden"):
        pass
    wait_for(lambda: tasks_and_descriptors(program) == dormant, "all to be as before")
    tell(program)
    program.wait_for_output("mended")
    tell(program)  # it forks, and would be warned of a second thread, and end by that
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    child = int(wait_for(children.read_text, "the child"))
    for pid in (child, program.pid):
        wait_for(program.connection_file_of(pid).exists, "its console")
        with closing(Client(program.connection_file_of(pid))) as client:
            assert client.ready().value("__import__('os').getpid()") == pid
        tell(program)
    assert program.wait() == 0
    assert program.stderr == ""


def test_a_program_may_close_all_descriptors_while_its_console_refuses(launch: Launcher) -> None:
    close = "os.closerange(3, 256); files = [open(os.devnull) for _ in range(40)]; told()"
    program = start(
        launch, "a function", f"{close}; [(file.read(), file.close()) for file in files]"
    )
    program.wait_for_output("broken")
    with refused(program, "forbidden"):
        tell(program)
        program.wait_for_output("mended")
        tell(program)
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
    tell(program)
    assert program.wait() == 0
    assert program.stderr == ""


def test_a_console_that_refuses_can_be_stopped(launch: Launcher) -> None:
    program = start(
        launch, "a function", "from rtconsole import stop_console; stop_console(); told()"
    )
    program.wait_for_output("broken")
    with refused(program, "forbidden"):
        tell(program)
        program.wait_for_output("mended")
        tell(program)
        wait_for(lambda: not list(program.runtime_dir.glob("*.json")), "its file to go")
        wait_for(lambda: tasks_and_descriptors(program) == (1, 3), "its thread to go")
    tell(program)
    assert program.wait() == 0
    assert program.stderr == ""
