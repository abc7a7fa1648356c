"""Interrupts that come at a bad moment: no lock is kept, and nothing is left behind."""

import sys

import pytest
from harness import Client, Launcher, wait_for

# Those of the console that a cell may come to, and what it sets for a while. No other thread may
# wait for it meanwhile.
SWEEP = """
import signal, sys, threading
from rtconsole import descriptors
from rtconsole.kernel import interrupt
kernel = get_ipython().kernel
cells, thread = kernel.interrupts, threading.get_ident()

def start_thread():
    start = getattr(threading, "_start_joinable_thread", None)
    start(int) if start else threading._start_new_thread(int, ())

def step(frame, event, argument):
    global steps
    steps += 1
    if steps == last and thread in cells._running:
        interrupt._raise_in(thread)

def left():
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return [
        mask != at_first and "signals", len(descriptors._holders) and "numbers",
        kernel.output.publisher.tails and "tail",
        *(lock.locked() and name for name, lock in locks.items()),
    ]

at_first = signal.pthread_sigmask(signal.SIG_BLOCK, [])
locks = {
    "output": kernel.output.mirror._lock, "routes": kernel.routes._lock,
    "subshells": kernel.shell_channel_thread.manager._lock_cache, "turn": descriptors._turn,
}
interrupted, found, last, steps = 0, set(), 0, 0

def sweep():
    global interrupted, last, steps
    while steps >= last:
        last, steps = last + 1, 0
        try:
            sys.setprofile(step)
            {code}
            sys.setprofile(None)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.setprofile(None)
        found.update(filter(None, left()))
sweep()
"""


def is_in(client: Client, function: str) -> bool:
    """Tell whether a cell is in a function, in what that calls in C."""
    threads = client.control("stack_request")["threads"]
    return function in [thread["stack"][-1]["function"] for thread in threads if thread["cell"]]


@pytest.mark.parametrize("module", ["", "comm.py"])
def test_an_interrupt_leaves_what_a_cell_calls_as_it_was_at_any_step(
    launch: Launcher, module: str
) -> None:
    """Where a program has a module of that name, the kernel's imports are its own."""
    if module:
        (launch.home / module).touch()
    program = launch("import time\nwhile True: time.sleep(0.1)", cwd=launch.home)
    magics = ["%mirror off", "%mirror tee", "%subshell", "%tail -t 0"]
    with program.client() as client:
        # Python 3.11 takes a thread that has not begun for the one that starts it: see interrupt.py
        starts = ["start_thread()"] if sys.version_info >= (3, 12) else []
        for code in (*starts, *magics):
            reply = client.run(SWEEP.replace("{code}", code))
            assert reply.status == "ok", reply.traceback
            assert client.value("found") == set(), code
            assert client.value("interrupted") > 10, code


def test_a_cell_that_is_interrupted_while_it_waits_for_the_programs_lock_gives_it_back(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import os, threading, time
        lock = threading.Lock()
        def work():
            with lock: time.sleep(0.001)
        with lock:
            while not os.path.exists("go"): time.sleep(0.01)
        done = 0
        while True:
            work()
            done += 1
        """,
        cwd=launch.home,
    )
    with program.client() as client, program.client() as other:
        request = client.send("work()\nwhile True: pass")
        wait_for(lambda: is_in(other, "work"), "the cell to wait")
        other.interrupt()
        (launch.home / "go").touch()
        assert client.finish(request).error == "KeyboardInterrupt"
        done = client.value("done")
        wait_for(lambda: client.value("done") > done, "the program to go on")
        client.run("import sys")
        tools = "[sys.monitoring.get_tool(n) for n in range(6)]"
        assert client.value(f"hasattr(sys, 'monitoring') and any({tools})") is False
    assert program.stderr == ""


def test_who_is_interrupted_while_another_cell_is_asked_keeps_nobody_from_asking(
    launch: Launcher,
) -> None:
    program = launch("import time\nwhile True: time.sleep(0.1)")
    with program.client() as client, program.client() as other:
        first = client.send("input('first')", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=30)
        shell = other.control("create_subshell_request")["subshell_id"]
        second = other.send_to(shell, "input('second')", allow_stdin=True)
        wait_for(lambda: is_in(client, "Kernel.ask"), "the other to wait for its turn")
        interrupt = client.kernel.session.msg("interrupt_request", {})
        interrupt["header"]["subshell_id"] = shell
        client.kernel.control_channel.send(interrupt)
        assert client.kernel.get_control_msg(timeout=30)["content"] == {"status": "ok"}
        client.kernel.input("answer")
        assert client.finish(first).result == "'answer'"
        assert other.finish(second).error == "KeyboardInterrupt"
        third = client.send("input('third')", allow_stdin=True)
        assert client.kernel.get_stdin_msg(timeout=30)["content"]["prompt"] == "third"
        client.kernel.input("another")
        assert client.finish(third).result == "'another'"


def test_an_interrupt_does_not_end_an_event_loop_that_gets_no_turn(launch: Launcher) -> None:
    program = launch("import time\nwhile True: time.sleep(0.1)")
    late = """
        import asyncio
        interrupts = get_ipython().kernel.interrupts
        def cancel(*arguments, inner=interrupts._cancel):
            asyncio.get_running_loop().call_later(1, inner, *arguments)
        interrupts._cancel = cancel
        """
    with program.client() as client:
        assert client.run(late).status == "ok"
        request = client.send("await asyncio.sleep(30, print('awaits'))")
        client.iopub("stream")
        client.interrupt()
        assert client.finish(request).error == "KeyboardInterrupt"
        assert client.run("6 * 7").result == "42"
