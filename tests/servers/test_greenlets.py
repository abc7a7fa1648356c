"""gevent and eventlet: the standard library patched before us, after us, and beside our boot."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness import Client, Launcher, Program, wait_for

# Greenlets that count, and a main greenlet that waits for `stop`. "early" patches first, "late"
# once somebody has attached, "by hand" opens the console itself, after patching.
PROGRAM = """
import os, sys
library, when, flag = sys.argv[1:4]

def patch():
    if library == "gevent":
        from gevent import monkey
        monkey.patch_all()
    else:
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()

if when != "late":
    patch()
if when == "by hand":
    from rtconsole import start_console
    console = start_console()

import subprocess, threading, time

if when == "late":
    print("plain", flush=True)
    while not os.path.exists(flag):
        time.sleep(0.01)
    patch()

if library == "gevent":
    from gevent import spawn
else:
    from eventlet import spawn

ticks, stop, asked = [0, 0, 0], threading.Event(), []

def count(number):
    while not stop.is_set():
        time.sleep(0.005)
        ticks[number] += 1

def answer():
    while True:
        time.sleep(0.005)
        if not asked:  # no queue: greenlets' own are not for other threads
            continue
        text = asked.pop(0)
        print("a greenlet says", text, flush=True)
        text == "run" and subprocess.run(["true"], check=True)

for number in range(3):
    spawn(count, number)
spawn(answer)
print("patched", flush=True)
while not stop.is_set():
    time.sleep(0.01)
print("end", flush=True)
"""

LIBRARIES = ("gevent", "eventlet")
WHEN = ("early", "late", "by hand")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    # not imported here: eventlet warns at each fork of a process that has imported it
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


Start = Callable[..., Program]


@pytest.fixture
def start(launch: Launcher) -> Start:
    def start_one(
        library: str, when: str, watched: bool = True, source: str = PROGRAM, **env: str
    ) -> Program:
        flag = launch.home / "flag"
        given = {"RTCONSOLE": "1" if watched and when != "by hand" else None, **env}
        program = launch(source, library, when, str(flag), env=given)
        if when == "late":
            program.wait_for_output("plain")
            if watched:
                with program.client() as client:
                    assert client.run("6 * 7").result == "42"
                    flag.touch()
                    program.wait_for_output("patched")
                    assert client.run("6 * 7").result == "42"
            flag.touch()
        return program

    return start_one


def all_tick(client: Client, cell: str) -> str:
    """Run a cell, and return its result; all greenlets go on meanwhile."""
    before = client.value("list(ticks)")
    reply = client.run(cell)
    after = client.value("list(ticks)")
    assert reply.status == "ok", reply
    # 400 in two seconds of a quiet machine; next to none if it stood still
    assert all(new - old > 20 for old, new in zip(before, after, strict=True)), (before, after)
    return reply.result or ""


@pytest.mark.parametrize("when", WHEN)
def test_greenlets_go_on_while_cells_run_and_the_end_is_as_without(
    start: Start, library: str, when: str
) -> None:
    without = start(library, "late" if when == "late" else "early", watched=False)
    without.wait_for_output("patched")
    without.signal(signal.SIGINT)
    code = without.wait()
    program = start(library, when)
    program.wait_for_output("patched")
    for _ in range(2):
        with program.client() as client:
            all_tick(client, "import time; time.sleep(2)")
            all_tick(client, "end = time.monotonic() + 2\nwhile time.monotonic() < end: pass")
            all_tick(client, "import asyncio; await asyncio.sleep(2)")
            wait = "get" if library == "gevent" else "wait"
            cell = f"import {library} as g; g.spawn(lambda: (g.sleep(2), 42)[1]).{wait}()"
            assert all_tick(client, cell) == "42"
            assert client.run("1/0").error == "ZeroDivisionError"
    assert program.is_running(), program.describe()
    program.signal(signal.SIGINT)
    assert program.wait() == code
    # the traceback of its KeyboardInterrupt, from wherever its loop was
    last = [one.stderr.splitlines()[-1:] for one in (without, program)]
    assert last[0] == last[1], program.describe()
    assert "rtconsole" not in program.stderr, program.describe()


@pytest.mark.parametrize("when", WHEN)
def test_a_program_that_was_visited_ends_without_a_word(
    start: Start, library: str, when: str
) -> None:
    program = start(library, when)
    program.wait_for_output("patched")
    with program.client() as client:
        client.run("import time; time.sleep(0.2)")
        client.run("import asyncio; await asyncio.to_thread(abs, -1)")
        client.send("stop.set()")
        assert program.wait() == 0
    assert program.stderr == ""
    assert program.stdout.endswith("end\n")


@pytest.mark.parametrize("when", WHEN)
def test_cells_do_all_that_they_do_elsewhere(start: Start, library: str, when: str) -> None:
    program = start(library, when)
    program.wait_for_output("patched")
    with program.client() as client:
        assert client.run("print('to the client')").stdout == "to the client\n"
        assert "ticks" in client.shell_reply(client.kernel.complete("tick"))["matches"]
        assert client.run("ticks?").status == "ok"
        message = client.send("name = input('who? ')", allow_stdin=True)
        assert client.kernel.get_stdin_msg(timeout=30)["content"]["prompt"] == "who? "
        client.kernel.input("Bob")
        assert client.finish(message).status == "ok"
        assert client.run("name").result == "'Bob'"
        assert client.run("!echo from a shell").stdout.strip() == "from a shell"
        # what the program sees is what a cell sees
        assert client.value("threading.Thread is __import__('threading').Thread") is True
        assert client.value("__import__('_thread').start_new_thread.__module__") != "_thread"
        # a second time: an executor's threads would be greenlets that never run again
        for _ in range(2):
            cell = "import asyncio; await asyncio.to_thread(abs, -3)"
            assert client.run(cell).result == "3"
        large = client.run("'x' * 300_000")
        assert len(large.result or "") == 300_002
        refused = client.run("%%bash\necho")
        assert (refused.error, "!command" in refused.stderr) == ("UsageError", True), refused
        names = {t["name"] for t in client.control("stack_request")["threads"] if t["main"]}
        assert names == {"MainThread"}
        assert (
            client.value("sorted(t.name for t in threading.enumerate() if 'IOPub' in t.name)") == []
        )


@pytest.mark.parametrize("when", WHEN)
def test_what_greenlets_print_reaches_the_client(start: Start, library: str, when: str) -> None:
    program = start(library, when)
    program.wait_for_output("patched")
    with program.client() as client:
        for number in range(3):
            client.send(f"asked.append('number {number}')")
            seen = ""
            while f"a greenlet says number {number}\n" not in seen:
                message = client.iopub("stream")
                assert message["metadata"]["rtconsole"]["thread"] == "MainThread"
                seen += message["content"]["text"]
    assert "a greenlet says number 2\n" in program.stdout


@pytest.mark.parametrize("when", WHEN)
def test_a_cell_that_waits_can_be_interrupted(start: Start, library: str, when: str) -> None:
    program = start(library, when)
    program.wait_for_output("patched")
    cells = ["import time; time.sleep(600)", "while True: pass"]
    if library == "gevent":
        cells += [
            "import gevent; gevent.sleep(600)",
            "import gevent; gevent.spawn(gevent.sleep, 600).get()",
        ]
    with program.client() as client:
        for cell in cells:
            begun: list[str] = []

            def see(message: dict[str, Any], begun: list[str] = begun) -> None:
                if "begins" in message["content"].get("text", "") and not begun:
                    begun.append("yes")
                    client.interrupt()

            message = client.send(f"print('begins')\n{cell}")
            assert client.finish(message, see=see).error == "KeyboardInterrupt", cell
        assert client.run("1 + 1").result == "2"


def test_the_programs_processes_and_the_cells_do_not_mind_each_other(
    start: Start, library: str
) -> None:
    program = start(library, "early")
    program.wait_for_output("patched")
    with program.client() as client:
        for number in range(5):
            # from its first process on, gevent waits for any child there is
            client.run("asked.append('run')")
            before = program.stdout.count("says run")
            assert client.run(f"!echo {number}").stdout.strip() == str(number)
            wait_for(lambda n=before: program.stdout.count("says run") >= max(n, 1), "the greenlet")
        client.run("asked.append('last')")
        program.wait_for_output("says last")
        client.send("stop.set()")
        assert program.wait() == 0
    assert program.stderr == ""


FORKS = """
import os, sys
library = sys.argv[1]
if library == "gevent":
    from gevent import monkey
    monkey.patch_all()
else:
    import warnings
    warnings.simplefilter("ignore")
    import eventlet
    eventlet.monkey_patch()
import time
role = "parent"
stop = False
while not os.path.exists(sys.argv[3]):
    time.sleep(0.01)
child = os.fork()
if not child:
    role = "child"
while not stop:
    time.sleep(0.01)
if child:
    print("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("attached", [False, True])
def test_a_child_that_a_greenlet_program_forks_has_a_console_of_its_own(
    request: pytest.FixtureRequest, launch: Launcher, start: Start, library: str, attached: bool
) -> None:
    program = start(library, "early", source=FORKS)
    if attached:
        with program.client() as client:
            wait_for(lambda: client.run("role").result == "'parent'", "the program to begin")
            (launch.home / "flag").touch()
            child = wait_for(lambda: client.value("globals().get('child')"), "the fork")
    else:
        assert program.connection_file
        (launch.home / "flag").touch()
        with program.client() as client:
            child = wait_for(lambda: client.value("globals().get('child')"), "the fork")
    path = program.connection_file_of(child)
    request.addfinalizer(lambda: end(child))
    wait_for(path.exists, "the child's file")
    client = Client(path)
    try:
        client.ready()
        assert client.run("role").result == "'child'"
        client.run("import time; time.sleep(0.5)")
        assert client.run("1 + 1").result == "2"
        client.send("stop = True")
        wait_for(lambda: not path.exists(), "the child's end")
    finally:
        client.close()
    with program.client() as client:
        client.send("stop = True")
        assert program.wait() == 0
    assert program.stdout == "code 0\n"
    warned = "DeprecationWarning" in program.stderr  # of threads: gevent forks without asking
    assert not warned or (attached and sys.version_info >= (3, 12)), program.stderr
    assert "Traceback" not in program.stderr


@pytest.mark.parametrize("eager", [False, True])
def test_patching_while_the_kernel_boots_breaks_neither(
    launch: Launcher, library: str, eager: bool
) -> None:
    # the client is there when the program begins; it patches at once, or a little later
    source = """
    import sys, time
    time.sleep(float(sys.argv[2]))
    if sys.argv[1] == "gevent":
        from gevent import monkey
        monkey.patch_all()
    else:
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()
    # what the kernel imports too, perhaps at this moment
    import asyncio, concurrent.futures, json, logging, queue, socket, sqlite3, ssl, urllib.request
    stop = False
    print("imported", flush=True)
    while not stop:
        time.sleep(0.01)
    """
    for number in range(8):
        pause = str(number * 0.06)
        env = {"RTCONSOLE_EAGER": "1"} if eager else {}
        program = launch(source, library, pause, env=env)
        with program.client() as client:
            for cell, result in (("6 * 7", "42"), ("import time; time.sleep(0.1)", None)):
                reply = client.run(cell)
                failed = f"{pause}: {reply.traceback}\n{program.describe()}"
                assert (reply.status, reply.result) == ("ok", result), failed
                program.wait_for_output("imported")
            client.send("stop = True")
            assert program.wait() == 0, (pause, program.describe())
        assert program.stderr == "", (pause, program.describe())


def test_a_console_by_hand_can_be_closed_and_opened_again(
    launch: Launcher, library: str, start: Start
) -> None:
    program = start(library, "by hand")
    program.wait_for_output("patched")
    with program.client() as client:
        client.run("asked.append('x')")
        client.send("from rtconsole import stop_console; stop_console()")
        wait_for(lambda: not Path(program.connection_file_of(program.pid)).exists(), "its end")
    assert program.is_running()
    program.signal(signal.SIGINT)
    program.wait()
    assert "rtconsole" not in program.stderr
