"""Signals: each means to the program what it means without a console, whatever that does."""

import re
import signal
import subprocess
import sys
import textwrap

import alike
import pytest
from harness import Launcher

# Each waits for signals in another way; all run one after the other, in one program.
WAYS = {
    "a handler": """
        got = []
        signal.signal(signal.SIGUSR1, lambda number, frame: got.append((number, frame is not None)))
        send(signal.SIGUSR1)
        while not got: time.sleep(0.01)
        print(got, signal.getsignal(signal.SIGUSR1) is not None)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        """,
    "sigwait": """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        send(signal.SIGUSR1)
        print(signal.sigwait([signal.SIGUSR1, signal.SIGTERM]))
        send(signal.SIGTERM)
        print(signal.sigwait([signal.SIGUSR1, signal.SIGTERM]))
        """,
    "sigwaitinfo and sigtimedwait": """
        send(signal.SIGUSR1)
        info = signal.sigwaitinfo([signal.SIGUSR1])
        print(info.si_signo, info.si_pid == os.getppid(), info.si_uid)
        send(signal.SIGTERM)
        print(signal.sigtimedwait([signal.SIGTERM], 20).si_signo)
        print(signal.sigtimedwait([signal.SIGTERM], 0.01), signal.sigpending())
        """,
    "sigpending": """
        os.kill(os.getpid(), signal.SIGTERM)
        print(signal.sigpending(), signal.sigwait([signal.SIGTERM]), signal.sigpending())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1, signal.SIGTERM])
        """,
    "signalfd": """
        import ctypes, struct
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        mask = (ctypes.c_uint64 * 16)(1 << signal.SIGHUP - 1)
        fd = ctypes.CDLL(None, use_errno=True).signalfd(-1, mask, 0o2000000)
        for _ in range(3):
            send(signal.SIGHUP)
            print("signalfd", struct.unpack("I", os.read(fd, 128)[:4]))
        os.close(fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        """,
    "a wake-up descriptor": """
        import select, socket
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        print(signal.set_wakeup_fd(theirs.fileno()))
        signal.signal(signal.SIGUSR1, lambda *_: None)
        for _ in range(3):
            send(signal.SIGUSR1)
            print(select.select([ours], [], [], 20)[0] == [ours], ours.recv(100))
        print(signal.set_wakeup_fd(-1) == theirs.fileno())
        ours.close(); theirs.close()
        """,
    "SIGINT in a sleep": """
        try:
            send(signal.SIGINT, "asleep")
            time.sleep(20)
        except KeyboardInterrupt as error: print("KeyboardInterrupt", error.args)
        """,
    "SIGINT in input": """
        try:
            send(signal.SIGINT, "asleep")
            input()  # a prompt might be written by then, or not
        except KeyboardInterrupt as error: print("KeyboardInterrupt", error.args)
        """,
    "SIGINT in a wait for a lock": """
        import threading
        try:
            send(signal.SIGINT, "asleep")
            threading.Event().wait(20)
        except KeyboardInterrupt as error: print("KeyboardInterrupt", error.args)
        """,
    "SIGINT with a handler": """
        def handler(number, frame):
            print("handled", number, threading.current_thread() is threading.main_thread())
            global handled
            handled = True
        handled, before = False, signal.signal(signal.SIGINT, handler)
        send(signal.SIGINT)
        while not handled: time.sleep(0.01)
        print(before)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        """,
    "timers": """
        count = 0
        def tick(number, frame):
            global count
            count += 1
        real, prof = (signal.ITIMER_REAL, signal.SIGALRM), (signal.ITIMER_PROF, signal.SIGPROF)
        for timer, number in real, prof:
            count, _ = 0, signal.signal(number, tick)
            signal.setitimer(timer, 0.005, 0.005)
            while count < 5:
                if timer == signal.ITIMER_REAL: signal.pause()
            signal.setitimer(timer, 0)
            signal.signal(number, signal.SIG_DFL)
            print("ticks", number, signal.getitimer(timer))
        """,
    "a read that is interrupted": """
        class Enough(Exception): pass
        raised = []
        def enough(*_):
            if raised: return
            raised.append("once")
            raise Enough
        signal.signal(signal.SIGALRM, enough)
        r, w = os.pipe()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # the first may come before the read
            os.read(r, 1)
        except Enough: print("enough")
        signal.setitimer(signal.ITIMER_REAL, 0)
        """,
    "children": """
        import subprocess
        reaped = []
        def reap(*_):
            try:
                while (found := os.waitpid(-1, os.WNOHANG))[0]: reaped.append(found[1])
            except ChildProcessError: pass
        signal.signal(signal.SIGCHLD, reap)
        null = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        codes = "exit 3", "kill -TERM $$", "exit 0"
        kept = [subprocess.Popen(["sh", "-c", code], **null) for code in codes]  # else it reaps
        while len(reaped) < 3: time.sleep(0.01)
        print(sorted(reaped))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        """,
    "stop and go": """
        got = []
        signal.signal(signal.SIGCONT, lambda *_: got.append("continued"))
        send(signal.SIGSTOP)
        while not got: time.sleep(0.01)
        print(got)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        """,
    "asyncio": """
        import asyncio
        async def main():
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR2, done.set)
            send(signal.SIGUSR2)
            await asyncio.wait_for(done.wait(), 20)
            loop.remove_signal_handler(signal.SIGUSR2)
            print("asyncio")
        asyncio.run(main())
        """,
    "a signal to one thread": """
        def wait():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            print(signal.sigwait([signal.SIGUSR2]))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        thread = threading.Thread(target=wait)
        thread.start()
        signal.pthread_kill(thread.ident, signal.SIGUSR2)
        thread.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        """,
    "what is left": """
        print([(n, str(signal.getsignal(n)).partition(" at ")[0]) for n in signal.valid_signals()])
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        """,
}


def program(ways: dict[str, str]) -> str:
    """Return a program that goes through all that, and says where it is."""
    parts = [f"print({way!r}, flush=True)\n{textwrap.dedent(code)}" for way, code in ways.items()]
    return "\n".join(parts)


@pytest.mark.parametrize("state", alike.STATES)
def test_a_program_is_sent_and_handed_signals_as_without_us(launch: Launcher, state: str) -> None:
    source = program(WAYS)
    expected = alike.outcome(launch, source, "without", stdin=subprocess.PIPE)
    assert (expected[0], expected[2]) == (0, ""), expected
    assert alike.outcome(launch, source, state, stdin=subprocess.PIPE) == expected


# How a program dies of a signal, and of what.
DEATHS = {
    **{
        f"by {number.name}": f"send({int(number)}); time.sleep(20)"
        for number in (
            *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGUSR1),
            *(signal.SIGALRM, signal.SIGTERM),
        )
    },
    "by a handler": """
        import atexit
        atexit.register(print, "last words")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        send(signal.SIGTERM, "asleep")
        time.sleep(20)
        """,
    "by an exception of a handler": """
        def handler(number, frame): raise RuntimeError("enough")
        signal.signal(signal.SIGTERM, handler)
        send(signal.SIGTERM, "asleep")
        time.sleep(20)
        """,
    "by KeyboardInterrupt beside threads": """
        import threading
        threading.Thread(target=time.sleep, args=[0.2]).start()
        send(signal.SIGINT, "asleep")
        time.sleep(20)
        """,
}
MOMENTS = [
    *(("dormant", death) for death in DEATHS),
    *(("booting", death) for death in ("by SIGTERM", "by a handler", "by SIGKILL", "by SIGINT")),
    *(("attached", death) for death in ("by SIGINT", "by an exception of a handler")),
    *(("in a cell", death) for death in ("by SIGTERM", "by a handler")),
    ("in a cell", "by KeyboardInterrupt beside threads"),
]


def without_places(outcome: alike.Ended) -> alike.Ended:
    """Leave out where a signal found the program: perhaps still saying that it is ready."""
    status, stdout, stderr = outcome
    return status, stdout, re.sub(r"^ .*\n", "", stderr, flags=re.MULTILINE)


@pytest.mark.parametrize(("state", "death"), MOMENTS)
def test_a_program_dies_of_a_signal_as_without_us(launch: Launcher, state: str, death: str) -> None:
    source = textwrap.dedent(DEATHS[death])
    expected = without_places(alike.outcome(launch, source, "without"))
    assert expected[0] != 0, expected
    assert without_places(alike.outcome(launch, source, state)) == expected
    if expected[0] > 0 or death.endswith(("SIGINT", "threads")):  # it had an end, after all
        assert alike.files(launch) == []


def test_signals_that_the_program_blocks_stay_blocked_when_it_forks(launch: Launcher) -> None:
    program = launch(
        """
        import os, signal
        signal.signal(signal.SIGUSR1, print)
        def fork():
            child = os.fork()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            if child == 0: os._exit(len(mask))
            return sorted(map(int, mask)), os.wait()[1] >> 8
        print(fork(), fork())
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        print(fork(), fork())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        print(fork())
        """
    )
    assert program.wait() == 0
    blocked = f"([{int(signal.SIGUSR1)}], 1)"
    assert program.stdout == f"([], 0) ([], 0)\n{blocked} {blocked}\n([], 0)\n"


# An alarm at any moment of a fork, whose handler raises: how often did that reach the program?
ALARMS = """
    import os, random, signal, sys, time, warnings
    warnings.simplefilter("ignore")  # of a fork beside a thread: see below
    class Late(Exception): pass
    def handler(*_): raise Late
    signal.signal(signal.SIGALRM, handler)
    printed = []
    sys.unraisablehook = lambda found: printed.append(repr(found.exc_value))
    def alarm():
        child = None
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00005, 0.0015))
            child = os.fork()
            if child: time.sleep(0.5)
        except Late: return child
        finally:
            if child == 0: os._exit(0)
        return child and -child
    def alarms():
        for _ in range(200):
            child = alarm()
            if child: os.waitpid(abs(child), 0)
            if child is None:
                try: os.wait()
                except ChildProcessError: pass  # it came before the fork
            yield child is None or child > 0
    """


@pytest.mark.parametrize("visited", [False, True], ids=["dormant", "attached"])
def test_what_a_handler_raises_amid_a_fork_reaches_the_program(
    launch: Launcher, visited: bool
) -> None:
    wait = 'while not os.path.exists("go"): time.sleep(0.01)\n'
    end = "caught = [*alarms()]\nprint(caught.count(True), len(printed), flush=True)\n"
    source = textwrap.dedent(ALARMS) + wait * visited + end
    program = launch(source, cwd=launch.home)
    if visited:
        with program.client() as client:
            client.run("import logging.handlers")
            (launch.home / "go").touch()
            assert program.wait() == 0
    assert program.wait() == 0
    caught, printed = map(int, program.stdout.split())
    # all, but for one that comes in the microsecond before the first function of ours blocks it,
    # which then does nothing for this fork
    assert caught >= 190, program.stdout
    assert printed <= 10
    assert program.stderr == ""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a thread's start is no audit event")
def test_what_a_handler_raises_amid_the_return_of_a_fork_reaches_the_program(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import os, signal, sys, time
        def handler(*_): raise TimeoutError("late")
        signal.signal(signal.SIGALRM, handler)
        me, sent = os.getpid(), []
        def see(event, _):
            if event == "_thread.start_new_thread" and os.getpid() == me and not sent:
                sent.append(signal.raise_signal(signal.SIGALRM))
        sys.addaudithook(see)
        try:
            child = os.fork()
            if child == 0: os._exit(0)
            time.sleep(20)
        except TimeoutError as error: print(error, len(sent))
        os.wait()
        if os.fork() == 0: os._exit(0)
        print(os.wait()[1], flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("late 1\n0\n")
    with program.client() as client:
        assert client.value("len(sent)") == 1
        (launch.home / "end").touch()
        assert (program.wait(), program.stderr) == (0, "")
