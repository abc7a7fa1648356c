"""A program that is run without a console and with one, in each state: the two are to be alike."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import PATIENCE, Client, Launcher, Program, wait_for

# What takes long: `make faults` runs it.
IS_THOROUGH = bool(os.environ.get("RTCONSOLE_THOROUGH"))

# What a console may be doing while the program does what it does.
STATES = ("dormant", "booting", "attached", "in a cell")

# Programs begin with it. What `send` is called with is sent to the program once it waits; if it
# is to be found asleep, in a call that goes on until then: a signal that comes just before one is
# handled when that is over, while the main thread waits for the interpreter's lock say.
PRELUDE = """
import os, signal, sys, time
def send(number, how=""): print("send", int(number), how, flush=True)
while not os.path.exists("go"): time.sleep(0.005)
"""

Ended = tuple[int, str, str]


@contextmanager
def in_state(launch: Launcher, program: Program, state: str) -> Iterator[None]:
    """Have the console of a program that waits in ``PRELUDE`` be in a state, and let it go on."""
    client: Client | None = None
    try:
        if state != "without":
            assert program.connection_file
        if state in ("booting", "attached", "in a cell"):
            client = Client(program.connection_file)
        if client is not None and state != "booting":
            client.ready().run("import os")
            if state == "in a cell":
                client.send("while True: os.getpid()")
                wait_for(lambda: client.iopub("execute_input"), "the cell")
        (launch.home / "go").touch()
        yield
    finally:
        if client is not None:
            client.close()
        (launch.home / "go").unlink(missing_ok=True)


def run(launch: Launcher, source: str, state: str, **options: Any) -> Program:
    """Run a program to its end, send it the signals that it asks for, and return it."""
    options.setdefault("cwd", launch.home)
    env = {"RTCONSOLE": None if state == "without" else "1", **options.pop("env", {})}
    program = launch(PRELUDE + source, env=env, **options)
    with in_state(launch, program, state):
        _serve(program)
    return program


def outcome(launch: Launcher, source: str, state: str, **options: Any) -> Ended:
    """Run a program, and return its exit status and what it wrote."""
    program = run(launch, source, state, **options)
    return program.wait(), _normal(launch, program.stdout), _normal(launch, program.stderr)


def _normal(launch: Launcher, text: str) -> str:
    """Return text without addresses, and without where this test has its files."""
    return re.sub("0x[0-9a-f]+", "0x", text.replace(str(launch.home), "HOME"))


def files(launch: Launcher) -> list[str]:
    """Return the names of all connection files and sockets."""
    found = [p for p in launch.home.rglob("*") if "kernel-rt-" in p.name or p.is_socket()]
    return [path.name for path in found]


def _serve(program: Program) -> None:
    """Send the signals that the program's output asks for, until it ends."""
    sent = 0
    deadline = time.monotonic() + PATIENCE
    while program.is_running():
        assert time.monotonic() < deadline, program.describe()
        lines = program.stdout.split("\n")[:-1]
        asked = [line.split()[1:] for line in lines if line.startswith("send ")]
        for word, *how in asked[sent:]:
            number = int(word)
            if how:
                wait_for(lambda: is_asleep(program.pid), "the program to sleep")
            else:
                wait_for(lambda: _main_thread(program.pid) in "STZ", "the program to wait")
            program.signal(number)
            if number == signal.SIGSTOP:
                wait_for(lambda: _main_thread(program.pid) in "TZ", "the program to stop")
                program.signal(signal.SIGCONT)
            sent += 1
        time.sleep(0.003)


def _main_thread(pid: int) -> str:
    """Return the state of the main thread: R, S, T, Z and so on (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/stat").read_text()
    except OSError:
        return "Z"
    return text.rpartition(")")[2].split()[0]


def is_asleep(pid: int) -> bool:
    """Tell whether a main thread has slept for a while, and not for the interpreter's lock.

    Who waits for that wakes up each 5 ms (Python/ceval_gil.c).
    """
    before = _waits(pid)
    time.sleep(0.05)
    return _main_thread(pid) in "STZ" and _waits(pid) == before


def _waits(pid: int) -> str:
    """Return how often the main thread has gone to sleep."""
    try:
        return status_of(pid, "voluntary_ctxt_switches")
    except (OSError, KeyError):  # it has ended
        return ""


def status_of(pid: int, field: str) -> str:
    """Return a field of a process's status (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return line.partition(":")[2].strip()
    raise KeyError(field)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return not status_of(pid, "State").startswith("Z")
    except (OSError, KeyError):
        return False
