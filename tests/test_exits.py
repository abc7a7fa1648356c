"""The end of a program, however it ends: its exit code and its words are the same as without us."""

import os
import socket
import sys
import textwrap
from contextlib import closing, suppress

import alike
import pytest
from harness import Client, Launcher, Program, wait_for

# How a program ends, after the prelude that waits for us.
ENDS = {
    "at the last line": "print('last')",
    "by sys.exit in a thread": """
        import threading
        def end():
            print("thread", flush=True)
            sys.exit(3)
        thread = threading.Thread(target=end); thread.start(); thread.join()
        """,
    "by os._exit in a thread": """
        import threading
        print("unwritten")
        threading.Thread(target=os._exit, args=[4]).start()
        time.sleep(20)
        """,
    "by os._exit": "print('unwritten'); os._exit(5)",
    "by abort": "print('words', flush=True); os.abort()",
    "by an exception": "print('words'); raise ValueError('enough')",
    "by an exception in an atexit callback": """
        import atexit
        @atexit.register
        def fails():
            print("fails")
            raise ValueError("at exit")
        """,
    "with atexit callbacks that print": """
        import atexit, threading
        for number in range(3): atexit.register(print, "callback", number)
        def thread():
            threading.main_thread().join()
            print("thread", file=sys.stderr, flush=True)
        threading.Thread(target=thread).start()
        sys.exit(6)
        """,
    "with a daemon thread that prints": """
        import threading
        def flood():
            with open("flood", "w") as file:
                while True: print("line", file=file, flush=True)
        threading.Thread(target=flood, daemon=True).start()
        time.sleep(0.05)
        """,
    "after os.execv": """
        print("before", flush=True)
        os.execv(sys.executable, [sys.executable, "-c", "print('after'); raise SystemExit(7)"])
        """,
    "after sys.stdout.close()": "print('words'); sys.stdout.close()",
    "after closing both": "sys.stdout.close(); sys.stderr.close(); sys.exit(8)",
    "after os.close(1)": "print('unwritten'); os.close(1)",
    "after os.close(1) and 2": "print('unwritten'); os.close(1); os.close(2)",
    "after sys.stdout = None": "print('words', flush=True); sys.stdout = sys.stderr = None",
    "with a reader that left": """
        r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        print("nobody reads that")
        """,
    "with a full disk": "os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('no room for that')",
    "by a crash": """
        import faulthandler
        faulthandler.disable()
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
        """,
}
# Without an end of the interpreter our files stay, until the next process of ours ends.
RUNS_NO_EXIT = ("os._exit", "abort", "crash")


# What is worth a kernel each time; `make faults` tries them all.
BESIDE_A_KERNEL = {
    "booting": ("by an exception", "by os._exit in a thread", "with atexit callbacks that print"),
    "attached": (
        *("with atexit callbacks that print", "by an exception in an atexit callback"),
        *("by abort", "after sys.stdout.close()", "with a reader that left"),
    ),
    "in a cell": ("with atexit callbacks that print", "by os._exit", "after os.close(1)"),
}
MOMENTS = [
    (state, how)
    for state in alike.STATES
    for how in ENDS
    if alike.IS_THOROUGH or how in BESIDE_A_KERNEL.get(state, ENDS)
]


@pytest.fixture(scope="module")
def without() -> dict[str, alike.Ended]:
    """What each comes to without us, asked once."""
    return {}


@pytest.mark.parametrize(("state", "how"), MOMENTS)
def test_a_program_ends_as_without_us(
    launch: Launcher, without: dict[str, alike.Ended], state: str, how: str
) -> None:
    source = textwrap.dedent(ENDS[how])
    if how not in without:
        without[how] = alike.outcome(launch, source, "without")
    assert alike.outcome(launch, source, state) == without[how]
    if not any(word in how for word in RUNS_NO_EXIT):
        assert alike.files(launch) == []


CELLS = {
    "waits in C": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "asks": "input('? ')",
    "awaits": "import asyncio; await asyncio.sleep(600)",
    "has a command run": "!exec sleep 600",
    "prints": "while True: print('line')",
}


@pytest.mark.parametrize("kind", CELLS if alike.IS_THOROUGH else ["waits in C", "asks"])
def test_no_cell_keeps_a_program_from_ending(launch: Launcher, kind: str) -> None:
    program = launch(alike.PRELUDE + "print('last'); sys.exit(3)", cwd=launch.home)
    with program.client() as client:
        client.send(CELLS[kind], allow_stdin=True)
        wait_for(lambda: client.iopub("execute_input"), "the cell")
        (launch.home / "go").touch()
        assert (program.wait(), program.stdout, program.stderr) == (3, "last\n", "")


def test_an_exception_beside_a_boot_is_the_programs_own(launch: Launcher) -> None:
    # at all moments of a boot: the program ends when that many modules have been imported
    python = [sys.executable, "-X", "dev", "-W", "error"]
    source = """
import sys, time
while len(sys.modules) < int(sys.argv[1]): pass
raise ValueError("enough")
"""
    expected = None
    for modules in (0, 60, 150, 400):
        program = launch(source, str(modules), python=python)
        if modules:
            with closing(Client(program.connection_file)):
                ended = program.wait(), program.stdout, program.stderr
        else:
            ended = program.wait(), program.stdout, program.stderr
        expected = expected or ended
        assert ended == expected, modules
        assert alike.files(launch) == []
    assert expected is not None
    assert expected[2].endswith("ValueError: enough\n")


def test_a_client_that_knocks_while_a_program_ends_hurts_nobody(launch: Launcher) -> None:
    source = alike.PRELUDE + "sys.exit(3)"
    for _ in range(10):
        program = launch(source, cwd=launch.home, python=[sys.executable, "-X", "dev"])
        info = program.info
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            (launch.home / "go").touch()
            with suppress(ConnectionError, FileNotFoundError):  # it was faster
                sock.connect(f"{info['ip']}-{info['hb_port']}")
            assert (program.wait(), program.stdout, program.stderr) == (3, "", "")
        (launch.home / "go").unlink()
        assert alike.files(launch) == []


def short(launch: Launcher, number: int) -> Program:
    """Start a program that ends within a millisecond or a few."""
    endings = ("pass", "import os; os._exit(0)", "raise SystemExit(0)", "import threading")
    return launch(None, "-c", endings[number % len(endings)])


@pytest.mark.timeout(1200)
def test_many_short_programs_leave_nothing_behind(launch: Launcher) -> None:
    rounds = int(os.environ.get("RTCONSOLE_PROGRAMS", "24"))
    for first in range(0, rounds, 4):
        programs = [short(launch, number) for number in range(first, min(first + 4, rounds))]
        for program in programs:
            assert (program.wait(), program.stdout, program.stderr) == (0, "", "")
            program.stdout_file.unlink(), program.stderr_file.unlink()
            launch.programs.remove(program)
    assert launch(None, "-c", "pass").wait() == 0  # what os._exit left goes with the next end
    assert alike.files(launch) == []
    left = [p.name for p in launch.home.rglob("*") if p.is_file()]
    assert [name for name in left if not name.endswith((".out", ".err", "debug.log"))] == []


def test_what_the_kernel_opens_never_stands_for_a_stream_that_is_closed(launch: Launcher) -> None:
    # a program that went to the background without putting /dev/null there
    program = launch(
        """
        import os, time
        for fd in range(3): os.close(fd)
        results = None
        while not (os.path.exists("end") and results == {9}):  # a file may have it for a moment
            numbers = set()
            for fd in range(3):
                for use in lambda: os.write(fd, b"12345678"), lambda: os.read(fd, 1):
                    try: numbers.add(use())
                    except OSError as error: numbers.add(error.errno)
            results = numbers
            time.sleep(0.001)
        os._exit(0)
        """,
        cwd=launch.home,
    )
    with program.client() as first, program.client() as second:
        for client in first, second:
            wait_for(lambda client=client: client.value("results") == {9}, "no such descriptors")
        streams = [f"/proc/{program.pid}/fd/{number}" for number in range(3)]
        wait_for(lambda: not any(map(os.path.lexists, streams)), "nothing to stand for them")
        (launch.home / "end").touch()
        assert program.wait() == 0


def test_what_is_written_to_a_closed_stream_never_goes_to_a_client(launch: Launcher) -> None:
    # whose a request is, is looked up by a duplicate of its connection
    program = launch(
        """
        import os, threading
        for fd in range(3): os.close(fd)
        written = 0
        def write():
            global written
            while not os.path.exists("end"):
                for fd in range(3):
                    try: written += os.write(fd, b"12345678")
                    except OSError: pass
        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os._exit(0)
        """,
        cwd=launch.home,
    )
    try:
        with program.client() as client:
            for number in range(300):
                assert client.run(str(number)).result == str(number)
            assert client.value("written") == 0
    finally:
        (launch.home / "end").touch()
    assert program.wait() == 0


def test_no_file_that_the_kernel_writes_stands_for_a_closed_stream(launch: Launcher) -> None:
    # not for a moment: what the program writes there would be in it
    program = launch(
        """
        import os
        for fd in range(3): os.close(fd)
        seen = set()
        while not os.path.exists("end"):
            for fd in range(3):
                try: seen.add(os.readlink(f"/proc/self/fd/{fd}"))
                except OSError: pass
        os._exit(0)
        """,
        cwd=launch.home,
        env={"RTCONSOLE_AUDIT": str(launch.home / "audit"), "RTCONSOLE_DEBUG": None},
    )
    with program.client() as client:
        for _ in range(200):
            client.run("pass")
        seen = client.value("seen")
        (launch.home / "end").touch()
        assert program.wait() == 0
    assert not seen & {str(program.connection_file_of(program.pid)), str(launch.home / "audit")}


# How programs wait for their other threads.
WAYS_TO_WAIT = {
    "by joining all": "for thread in threading.enumerate():\n"
    "    if thread is not threading.current_thread(): thread.join()",
    "until there is one": "while threading.active_count() > 1: time.sleep(0.01)",
    "while any lives": "while any(thread.is_alive() for thread in threading.enumerate()\n"
    "    if thread is not threading.main_thread()): time.sleep(0.01)",
}


@pytest.mark.parametrize("wait", WAYS_TO_WAIT.values(), ids=WAYS_TO_WAIT)
@pytest.mark.parametrize("profile", [None, "waiting"])
def test_a_program_that_waits_for_all_threads_does_not_wait_for_the_consoles(
    launch: Launcher, wait: str, profile: str | None
) -> None:
    if profile:
        (launch.home / f".ipython/profile_{profile}/startup").mkdir(parents=True)
    program = launch(
        "import os, threading, time\n"
        "threading.Thread(target=time.sleep, args=(0.2,)).start()\n"
        f"while not os.path.exists('go'): time.sleep(0.01)\n{wait}\nprint('end')",
        cwd=launch.home,
        env={"RTCONSOLE_PROFILE": profile},
    )
    with program.client() as client:
        # the program's other thread ends in its time
        names = "[t.name for t in threading.enumerate()]"
        wait_for(lambda: client.value(names) == ["MainThread"], "none but the main thread")
        assert client.value("threading.current_thread().name") == "rtconsole"
        client.control("create_subshell_request")
        (launch.home / "go").touch()
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("end\n", "")


def test_a_program_that_waits_for_all_threads_amid_a_boot_ends(launch: Launcher) -> None:
    for wait in WAYS_TO_WAIT.values():
        program = launch(
            f"import rtconsole, threading, time\n{wait}\nprint('end')",
            env={"RTCONSOLE_EAGER": "1"},
        )
        assert (program.wait(), program.stdout, program.stderr) == (0, "end\n", "")
