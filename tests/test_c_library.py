"""Pythons that are linked with another C library than glibc, as musl (Alpine), or built with less.

What differs there is brought about on any: what libzmq tells, how large stacks are, what lacks.
"""

import json
import os
import resource
import sys
from pathlib import Path

import commands
import pytest
from harness import Client, Launcher, Program

COUNTS = """
    import time
    n = 0
    print("begun", flush=True)
    while True:
        n += 1
        time.sleep(0.01)
    """

# libzmq tells of no connection to a Unix socket which one it is (see rtconsole.kernel.untold).
UNTOLD = """
    from rtconsole.kernel import peers
    peers.connection_of = lambda frame: peers.UNTOLD
    """

WITHOUT_CTYPES = """
    import sys
    sys.modules["_ctypes"] = None
    """


def started(launch: Launcher, first: str, **env: str | None) -> Program:
    program = launch(first + COUNTS, env=env)
    program.wait_for_output("begun")
    return program


def test_clients_are_served_where_libzmq_does_not_tell_whose_connection_it_is(
    launch: Launcher, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    program = started(launch, UNTOLD, RTCONSOLE_AUDIT=str(audit))
    with program.client() as one:
        assert one.run("print(n > 0)").stdout == "True\n"
        with program.client() as other:
            assert other.run("'other'").result == "'other'"
            assert one.run("'one'").result == "'one'"
        commands.wait_for_status(program, "idle 1")
        assert one.run("'still'").result == "'still'"
    commands.wait_for_status(program, "idle 0")
    first, *_ = map(json.loads, audit.read_text().splitlines())
    assert first["client_pid"] == os.getpid()


def test_many_clients_at_once_are_served_where_libzmq_does_not_tell_whose_is_whose(
    launch: Launcher,
) -> None:
    program = started(launch, UNTOLD)
    clients = [Client(program.connection_file) for _ in range(8)]
    try:
        for number, client in enumerate(clients):
            assert client.ready().run(f"print({number})").stdout == f"{number}\n"
    finally:
        for client in clients:
            client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have the main thread's stack")
def test_recursion_in_c_is_an_error_in_a_cell_where_stacks_are_small(launch: Launcher) -> None:
    small = resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])
    program = launch(
        """
        import sys, time
        sys.implementation._multiarch = "x86_64-linux-musl"
        from rtconsole import start_console
        start_console()
        print("begun", flush=True)
        while True:
            time.sleep(0.1)
        """,
        env={"RTCONSOLE": None},
        preexec_fn=lambda: resource.setrlimit(*small),
    )
    program.wait_for_output("begun")
    with program.client() as client:
        reply = client.run("import json; json.loads('[' * 100_000)")
        assert "RecursionError" in reply.traceback
        assert client.run("import threading; threading.stack_size()").result == "0"  # the program's
    assert program.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no musl, nor /proc")
def test_no_thread_is_left_to_an_interpreter_that_ends_where_it_would_read_what_is_gone(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import atexit, os, sys
        sys.implementation._multiarch = "x86_64-linux-musl"
        atexit.register(lambda: print(len(os.listdir("/proc/self/task"))))  # called after ours
        from rtconsole import start_console
        start_console()
        print(len(os.listdir("/proc/self/task")), flush=True)
        """,
        env={"RTCONSOLE": None},
    )
    assert (program.wait(), program.stdout) == (0, "2\n1\n")


def test_a_python_without_ctypes_has_a_console_that_says_what_cannot_be_done(
    launch: Launcher,
) -> None:
    program = started(launch, WITHOUT_CTYPES)
    with program.client() as client:
        assert client.run("n > 0").result == "True"
        assert client.run("!echo from a shell").stdout == "from a shell\r\n"
        assert client.run("import os; os.system('exit 3') >> 8").result == "3"
        cell = client.send("while not globals().get('enough'): pass")
        client.iopub("execute_input")
        done = commands.run(launch, "interrupt", str(program.pid))
        assert (done.returncode, "ctypes" in done.stderr) == (1, True)
        done = commands.run(launch, "stack", str(program.pid))
        assert "runs a cell" in done.stdout
        assert client.control("create_subshell_request")["status"] == "ok"
        del cell
    assert program.is_running()


def test_the_stacks_of_a_program_without_a_kernel_are_refused_with_the_reason(
    launch: Launcher,
) -> None:
    program = started(launch, "\n    import sys; sys.modules['ipykernel'] = None")
    done = commands.run(launch, "stack", str(program.pid))
    assert (done.returncode, done.stdout) == (3, "")
    assert "ipykernel" in commands.complaint(done)
