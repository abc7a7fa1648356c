"""Interrupts, exits and shutdowns: what stops a cell, and that nothing stops the program."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Launcher, Program, wait_for

NEVER_ENDING = {
    "a loop": "while True: pass",
    "a loop in a function": "def f():\n    while True: pass\nf()",
    "sleeping": "import time; time.sleep(1000)",
    "awaiting": "import asyncio; await asyncio.sleep(1000)",
    "a loop after awaiting": "import asyncio; await asyncio.sleep(0)\nwhile True: pass",
    "waiting for input": "input()",
}


def wait_until_busy(client: object, request: str) -> None:
    while True:
        message = client.kernel.get_iopub_msg(timeout=30)  # type: ignore[attr-defined]
        if message["msg_type"] == "execute_input":
            assert message["parent_header"]["msg_id"] == request
            return


@pytest.mark.parametrize("code", NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_an_interrupt_ends_the_running_cell_only(counter: Program, code: str) -> None:
    with counter.client() as client:
        before = client.value("t")
        request = client.send(code, allow_stdin=True)
        wait_until_busy(client, request)
        if "input" in code:
            client.kernel.get_stdin_msg(timeout=30)
        client.interrupt()
        reply = client.finish(request)
        assert (reply.status, reply.error) == ("error", "KeyboardInterrupt")
        assert client.run("'next'").result == "'next'"
        wait_for(lambda: client.value("t") > before, "the program to go on")
    assert counter.is_running()
    assert counter.stderr == ""


def test_an_idle_kernel_ignores_an_interrupt(counter: Program) -> None:
    with counter.client() as client:
        for _ in range(20):
            client.interrupt()
            assert client.run("1 + 1").result == "2"


def test_interrupts_at_any_moment_lose_no_reply(counter: Program) -> None:
    with counter.client() as client:
        for _ in range(50):
            request = client.send("for i in range(2000): pass")
            client.interrupt()
            assert client.finish(request).error in (None, "KeyboardInterrupt")
        assert client.run("'alive'").result == "'alive'"


@pytest.mark.parametrize("code", ["while time.time() < end: pass", "await asyncio.sleep(9)"])
def test_an_interrupt_counts_from_when_a_cell_is_announced(launch: Launcher, code: str) -> None:
    """Clients wait for that; on a busy machine it may be long before it runs."""
    program = launch("import time\nwhile True: time.sleep(0.1)", cwd=launch.home)
    with program.client() as client:
        slow = """
        import asyncio, os
        from rtconsole import turns
        def give_back(inner=turns.give_back):
            turns.give_back = inner
            while not os.path.exists("go"): time.sleep(0.01)
        turns.give_back = give_back
        end = time.time() + 9
        """
        assert client.run(slow).status == "ok"
        request = client.send(code)
        while client.iopub("status")["parent_header"].get("msg_id") != request:
            pass
        client.interrupt()
        (launch.home / "go").touch()
        assert client.finish(request).error == "KeyboardInterrupt"
        assert client.run("6 * 7").result == "42"


def test_an_interrupt_at_any_step_of_running_code_leaves_nothing_behind(launch: Launcher) -> None:
    """What is left would have the next one interrupt the kernel, amid a reply say."""
    program = launch(
        """
        import os, time
        while True:
            time.sleep(0.001)
            if os.path.exists("look"):
                print(interrupts.is_busy, flush=True)
                os.unlink("look")
        """,
        cwd=launch.home,
    )
    prepare = """
    import sys, threading
    from rtconsole.kernel import interrupt
    interrupts, thread = get_ipython().kernel.interrupts, threading.get_ident()
    def step(frame, event, argument):
        global steps
        if thread in interrupts._running:  # as long as one may be raised
            steps += 1
            if steps == last: interrupt._raise_in(thread)
    """
    with program.client() as client:
        assert client.run(prepare).status == "ok"
        last = steps = interrupted = 0
        while steps == last:
            last += 1
            error = client.run(f"last, steps = {last}, 0; sys.setprofile(step)\npass").error
            assert error in (None, "KeyboardInterrupt")
            interrupted += error is not None
            (launch.home / "look").touch()
            wait_for(lambda: not (launch.home / "look").exists(), "the program to look")
            client.run("sys.setprofile(None)")
            steps = client.value("steps")
        assert interrupted > 4
    assert program.stdout == "False\n" * last


def test_an_interrupt_that_comes_as_a_cell_ends_leaves_nothing_behind(launch: Launcher) -> None:
    program = launch("import time\nwhile True: time.sleep(0.1)", cwd=launch.home)
    with program.client() as client:
        slow = """
        import linecache, os, sys, threading
        from rtconsole.kernel import interrupt
        late, shell = 0, threading.get_ident()
        def ends(thread):
            frame = sys._current_frames()[thread]
            while frame.f_code.co_name != "run_code": frame = frame.f_back
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            return line.strip() == "running.end()"
        def frames(inner=interrupt.frames):
            # an interrupt looks where the cell is, whose end waits until it is raised
            global late
            interrupt.frames = inner
            open("now", "w").close()
            while not ends(shell): time.sleep(0.001)
            late += 1
            return inner()
        interrupt.frames = frames
        """
        assert client.run(slow).status == "ok"
        request = client.send("while not os.path.exists('now'): open('runs', 'w').close()")
        wait_for((launch.home / "runs").exists, "the cell to have begun")
        client.interrupt()
        assert client.finish(request).error == "KeyboardInterrupt"
        assert client.run("6 * 7").result == "42"
        assert client.value("late") == 1
        request = client.send("while True: pass")
        wait_until_busy(client, request)
        client.interrupt()
        assert client.finish(request).error == "KeyboardInterrupt"


def test_an_interrupt_is_no_newborn_threads(counter: Program) -> None:
    code = """
    import threading
    while True:
        born = threading.Thread(target=int)
        born.start()
        born.join()
    """
    with counter.client() as client:
        for _ in range(10):
            request = client.send(code)
            wait_until_busy(client, request)
            client.interrupt()
            assert client.finish(request).error == "KeyboardInterrupt"
    assert counter.stderr == ""


def test_no_signal_reaches_the_program(launch: Launcher) -> None:
    program = launch(
        """
        import signal, time
        seen = []
        for number in signal.valid_signals():
            try:
                signal.signal(number, lambda number, frame: seen.append(number))
            except (OSError, ValueError):
                pass
        while True: time.sleep(0.01)
        """
    )
    with program.client() as client:
        request = client.send("while True: pass")
        wait_until_busy(client, request)
        client.interrupt()
        client.finish(request)
        client.control("shutdown_request", restart=False)
        assert client.value("seen") == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_shutdown_request_is_answered_and_stops_nothing(launch: Launcher, restart: bool) -> None:
    program = launch(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        child.wait()
        """
    )
    with program.client() as client:
        wait_for(lambda: client.run("child").status == "ok", "the child")
        with program.client() as other:
            answer = client.control("shutdown_request", restart=restart)
            assert answer == {"status": "ok", "restart": restart}
            assert other.run("'still here'").result == "'still here'"
        assert client.value("child.poll()") is None
        client.send("child.kill()")
        assert program.wait() == 0


@pytest.mark.parametrize("code", ["exit", "quit", "exit()", "quit()"])
def test_exit_makes_the_client_leave_and_keeps_the_kernel(counter: Program, code: str) -> None:
    with counter.client() as client:
        (payload,) = client.run(code).payload
        assert (payload["source"], payload["keepkernel"]) == ("ask_exit", True)
        assert client.run("'still here'").result == "'still here'"
    with counter.client() as client:
        assert client.run("t").status == "ok"
    assert counter.is_running()


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise SystemExit", "exit(3)[0]"])
def test_sys_exit_in_a_cell_leaves_the_program_running(counter: Program, code: str) -> None:
    with counter.client() as client:
        assert client.run(code).status == "error"
        assert client.run("'still here'").result == "'still here'"
    assert counter.is_running()


def test_errors_of_every_kind_leave_the_console_running(counter: Program) -> None:
    with counter.client() as client:
        for code in (
            "raise KeyboardInterrupt",
            "raise MemoryError",
            "raise BaseException('base')",
            "def f(): f()\nf()",
            "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
            "import asyncio; raise asyncio.CancelledError",
        ):
            assert client.run(code).status == "error", code
            assert client.run("'still here'").result == "'still here'"
    assert counter.stderr == ""


def test_a_parents_jupyter_variables_mean_nothing_here(launch: Launcher) -> None:
    # with JPY_PARENT_PID a stock kernel ends its process once that parent is gone
    program = launch(
        "import time\nwhile True: time.sleep(0.01)",
        env={"JPY_PARENT_PID": "999999", "JPY_SESSION_NAME": "x", "JPY_INTERRUPT_EVENT": "1"},
    )
    with program.client() as client:
        client.run("import os")
        assert client.value("os.getpid()") == program.pid
        assert client.value("'__session__' in globals()") is False
    assert program.is_running()


def test_the_next_client_is_served_after_one_was_killed_in_the_middle(counter: Program) -> None:
    killed = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from harness import Client
client = Client({str(counter.connection_file)!r}).ready()
client.send("print('x' * 100_000); import time; time.sleep(0.2)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", killed]).returncode == -signal.SIGKILL
    with counter.client() as client:
        assert client.run("'served'").result == "'served'"


def test_clients_see_the_kernel_go_away_when_the_program_ends(launch: Launcher) -> None:
    program = launch("import time\nwhile not globals().get('done'): time.sleep(0.01)")
    with program.client() as client:
        client.send("done = True")
        assert client.iopub("shutdown_reply")["content"]["restart"] is False
        assert program.wait() == 0
        wait_for(lambda: not client.kernel.hb_channel.is_beating(), "the heartbeat to stop")
    assert program.stderr == ""
    assert not program.connection_file_of(program.pid).exists()
    assert list(launch.sockets.glob("**/*-*")) == []


def test_a_program_ends_while_a_cell_runs_for_ever(launch: Launcher) -> None:
    program = launch("import time\nwhile not globals().get('done'): time.sleep(0.01)\nprint('end')")
    with program.client() as client:
        client.send("done = True\nwhile True: pass")
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("end\n", "")


def test_a_program_ends_while_the_kernel_boots(launch: Launcher) -> None:
    go = launch.home / "go"
    for delay in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4):
        program = launch(
            f"""
            import os, time, sys
            while not os.path.exists({str(go)!r}): time.sleep(0.005)
            time.sleep({delay})
            print('end'); sys.exit(7)
            """
        )
        with program.client(ready=False):
            go.touch()
            assert program.wait() == 7
        assert (program.stdout, program.stderr) == ("end\n", ""), program.describe()
        go.unlink()


def test_a_request_that_was_just_read_at_the_end_says_nothing(launch: Launcher) -> None:
    program = launch(
        """
        import logging
        from rtconsole.kernel.loops import Loop
        async def serve(): pass
        log = logging.Logger("of the console")
        log.addHandler(logging.NullHandler())
        loop = Loop(log)
        loop.create_task(serve())
        loop.close()
        """,
        env={"RTCONSOLE": "0"},
    )
    assert (program.wait(), program.stderr) == (0, "")


def test_the_interpreters_shutdown_is_as_without_us(launch: Launcher) -> None:
    source = """
        import atexit, threading, time
        main = threading.main_thread()
        @atexit.register
        def last():
            print(main is threading.current_thread(), main.is_alive())
        def worker():
            time.sleep(0.2)
            print("worker done")
        while not globals().get("done") and {wait}: time.sleep(0.01)
        threading.Thread(target=worker).start()
        """
    plain = launch(source.format(wait=False), name="plain.py", env={"RTCONSOLE": None})
    program = launch(source.format(wait=True))
    with program.client() as client:
        client.send("done = True")
        assert program.wait() == plain.wait() == 0
    assert program.stdout == plain.stdout
    assert program.stderr == plain.stderr == ""
