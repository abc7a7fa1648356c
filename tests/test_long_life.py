"""Many visits leave what the first left: descriptors, threads, memory, files.

RTCONSOLE_ROUNDS says how many (``make endurance``: a thousand); without it, enough to see
what grows with each.
"""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Client, Launcher, Program, wait_for

ROUNDS = int(os.environ.get("RTCONSOLE_ROUNDS", "150"))
KILLS = max(5, ROUNDS // 10 if ROUNDS >= 1000 else 5)
BEFORE = 10  # rounds, after which nothing may grow
IDLE = 60 if ROUNDS >= 1000 else 2  # seconds without a wake-up
HOLD = 10 if ROUNDS >= 1000 else 1.5  # seconds that a cell holds the interpreter

# Bytes that a round may cost: 5 MB in a thousand. What the allocator has in its own keeping
# varies by some hundred KB.
GROWTH, SLACK = 5_000, 500_000

QUIET = "import time\nt = 0\nwhile True: t += 1; time.sleep(0.01)"

# Asks for a cell that takes a while, and says that it was begun.
VICTIM = """
import sys, time
from jupyter_client import BlockingKernelClient
client = BlockingKernelClient()
client.load_connection_file(sys.argv[1])
client.start_channels()
while client.get_iopub_msg()["msg_type"] != "iopub_welcome": pass  # before, output is missed
client.execute("for _ in range(100): print('x' * 1000)\\nimport time; time.sleep(0.05)")
while client.get_iopub_msg()["msg_type"] != "stream": pass
print("begun", flush=True)
time.sleep(60)
"""


def visit(connection_file: Path) -> None:
    """Come, run a cell and leave, as fast as can be: without waiting for silence."""
    client = Client(connection_file)
    try:
        message_id = client.send("t")
        assert client.shell_reply(message_id)["status"] == "ok"
    finally:
        client.close()


class State:
    """What a process has."""

    def __init__(self, program: Program) -> None:
        proc = Path(f"/proc/{program.pid}")
        self.descriptors = len(os.listdir(proc / "fd"))
        self.threads = len(os.listdir(proc / "task"))
        status = (proc / "status").read_text()
        self.memory = int(status.partition("RssAnon:")[2].split()[0]) * 1024
        self.files = sorted(
            str(path) for path in program.home.rglob("*") if "cache" not in str(path)
        )


def settled(program: Program, first: State) -> State:
    """Return the state, once the last client's connections are closed."""
    wait_for(
        lambda: State(program).descriptors <= first.descriptors, "the descriptors to be closed"
    )
    return State(program)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(ROUNDS * 2 + 120)
def test_many_visits_leave_no_more_than_the_first(launch: Launcher) -> None:
    program = launch(QUIET)
    for _ in range(BEFORE):
        visit(program.connection_file)
    with program.client() as client:
        client.run("import gc; gc.collect()")
    first = State(program)
    for number in range(ROUNDS):
        visit(program.connection_file)
        if number % 25 == 0:
            gc.collect()  # the clients, whose descriptors are ours
    with program.client() as client:
        client.run("gc.collect()")
    last = settled(program, first)
    assert last.threads == first.threads
    assert last.files == first.files
    assert last.memory - first.memory < ROUNDS * GROWTH + SLACK


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(KILLS * 5 + 120)
def test_clients_that_are_killed_leave_nothing(launch: Launcher) -> None:
    program = launch(QUIET)
    visit(program.connection_file)
    with program.client() as client:
        client.run("t")
    first = State(program)
    for _ in range(KILLS):
        argv = [sys.executable, "-c", VICTIM, str(program.connection_file)]
        env = launch.environment(RTCONSOLE=None)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as victim:
            try:
                assert victim.stdout is not None
                assert victim.stdout.readline() == b"begun\n"
            finally:
                victim.send_signal(signal.SIGKILL)
        with program.client() as client:
            assert client.run("t").status == "ok"
    last = settled(program, first)
    assert last.threads == first.threads
    assert program.process.poll() is None


DREADFUL = {
    "MemoryError": "raise MemoryError",
    "too much": "x = bytearray(1 << 62)",
    "RecursionError": "def f(): f()\nf()",
    "SystemExit": "raise SystemExit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "no os": "import sys; del sys.modules['os']",
    "no threading": "import sys; del sys.modules['threading']",
    "no print": "import builtins; builtins.print = None",
    "no streams": "import sys; sys.stdout = sys.stderr = None",
    "a flood": "for i in range(100_000): print('line', i)",
    "closed streams": "import sys; sys.stdout.close()",
    "no main": "globals().clear()",
    "no main module": "import sys; del sys.modules['__main__']",
    "a long hold": f"import ctypes; ctypes.PyDLL(None).usleep({int(HOLD * 1e6)})",
}


@pytest.mark.parametrize("code", DREADFUL.values(), ids=DREADFUL)
def test_the_program_and_the_console_survive_a_dreadful_cell(launch: Launcher, code: str) -> None:
    program = launch(
        """
        def main():
            import os, time
            while not os.path.exists("end"): time.sleep(0.01)
        main()
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.send(code)
        client.run("1")
    client = Client(program.connection_file)
    try:
        reply = client.ready().run("21 * 2")
        assert reply.result == "42", reply
    finally:
        client.close()
    Path(launch.home, "end").touch()
    assert program.wait() == 0
    assert program.stderr == ""


def test_beside_a_cell_that_never_returns_the_next_client_is_served(launch: Launcher) -> None:
    program = launch(QUIET)
    with program.client() as client:
        client.send("import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()")
        client.iopub("execute_input")
    client = Client(program.connection_file)
    try:
        shell = client.control("create_subshell_request")["subshell_id"]
        assert client.shell_reply(client.send_to(shell, "t"))["status"] == "ok"
    finally:
        client.close()
    assert program.process.poll() is None


def wake_ups(program: Program) -> dict[str, str]:
    """Return how often each thread but the main one gave the processor back, by its name."""
    threads = [path for path in program.task_folders() if path.name != str(program.pid)]
    lines = [(path / "status").read_text().splitlines() for path in threads]
    found = [dict(line.split(":\t", 1) for line in status) for status in lines]
    return {one["Pid"]: one["voluntary_ctxt_switches"] for one in found}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(IDLE + 120)
def test_a_dormant_program_is_not_woken_once(launch: Launcher) -> None:
    # the one that nobody looked at, and the one whose children came and went
    quiet = launch("import sys; sys.stdin.read()", stdin=subprocess.PIPE)
    forked = launch(
        "import os, sys\n"
        "for _ in range(3):\n"
        "    if (pid := os.fork()) == 0: os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "print('forked', flush=True)\n"
        "sys.stdin.read()",
        name="forked.py",
        stdin=subprocess.PIPE,
    )
    forked.wait_for_output("forked")
    assert quiet.connection_file
    wait_for(lambda: len(wake_ups(quiet)) == len(wake_ups(forked)) == 1, "the parked threads")
    before = wait_for(lambda: _the_same_twice(quiet, forked), "them to be parked")
    time.sleep(IDLE)
    assert [wake_ups(quiet), wake_ups(forked)] == before


def _the_same_twice(*programs: Program) -> list[dict[str, str]] | None:
    first = [wake_ups(program) for program in programs]
    time.sleep(0.2)
    return first if first == [wake_ups(program) for program in programs] else None
