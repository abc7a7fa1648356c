"""A signal's handler that raises as a console is started or stopped, or asked by an import."""

import importlib
import sys
from pathlib import Path

import pytest
from harness import Launcher

from rtconsole.kernel import finders

# At each line of ours, one after the other, as if a handler were called there; but not where all
# signals are blocked, nor while what has begun is taken back.
AT_EACH_LINE = """
import os, pathlib, sys
os.environ["RTCONSOLE"] = "1"
import sitehook
home, seen, at, where = pathlib.Path(os.environ["HOME"]), 0, 0, None
PASSED_OVER = "park", "block_signals", "undo", "stop", "close", "forget", "forget_file", "unlink"
class Timeout(BaseException): pass
def trace(frame, event, _):
    global seen, where
    code = frame.f_code
    ours = os.sep + "rtconsole" + os.sep in code.co_filename or code is start.__code__
    if not ours or code.co_name in PASSED_OVER: return None
    seen += event == "line"
    if seen == at and event == "line":
        where = code.co_name, frame.f_lineno
        sys.settrace(None)
        raise Timeout
    return trace
def files(): return [p.name for p in home.rglob("*") if "kernel-rt-" in p.name or p.is_socket()]
def names(entry):
    while entry:
        yield entry.tb_frame.f_code.co_name
        entry = entry.tb_next
from {module} import {start} as start
while True:
    at, seen, where = at + 1, 0, None
    sitehook._activated_pid, raised = 0, None
    try:
        sys.settrace(trace)
        start()
        sys.settrace(None)
    except Timeout as error: raised = error
    from rtconsole import lifecycle, listener
    if where is None: break
    found = files(), len(os.listdir("/proc/self/task")), type(raised), listener.current
    if found != ([], 1, Timeout, None): print(where, found)
    if {hides} and at > 1 and [*names(raised.__traceback__)] != ["<module>"]:
        print(where, "is in the traceback")
print("lines", at > 100, raised, len(files()), listener.current.state)
"""
"""Where the console begins: by the hook, which is in no traceback; or called by the program."""
STARTS = {
    "by the hook": {"module": "sitehook", "start": "activate", "hides": "True"},
    "called": {"module": "rtconsole", "start": "start_console", "hides": "False"},
}


@pytest.mark.parametrize("how", STARTS)
def test_a_handler_that_raises_amid_the_consoles_start_leaves_nothing(
    launch: Launcher, how: str
) -> None:
    source = AT_EACH_LINE
    for name, value in STARTS[how].items():
        source = source.replace("{" + name + "}", value)
    program = launch(source, env={"RTCONSOLE": None, "RTCONSOLE_DEBUG": None})
    assert program.wait() == 0, program.describe()
    assert program.stdout == "lines True None 7 parked\n"


@pytest.mark.parametrize("visited", [False, True], ids=["dormant", "attached"])
def test_what_a_handler_raises_amid_a_stop_comes_when_the_console_is_stopped(
    launch: Launcher, visited: bool
) -> None:
    program = launch(
        """
        import os, pathlib, rtconsole, signal, sys, time
        class Timeout(Exception): pass
        def handler(*_): raise Timeout
        signal.signal(signal.SIGUSR1, handler)
        seen = []
        def look(event, arguments):
            if event == "os.remove" and not seen:
                seen.append(event)
                os.kill(os.getpid(), signal.SIGUSR1)
        while not os.path.exists("go"): time.sleep(0.01)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        sys.addaudithook(look)
        try: rtconsole.stop_console()
        except Timeout: print("late")
        print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
        home = pathlib.Path(os.environ["HOME"])
        print([p.name for p in home.rglob("*") if "kernel-rt-" in p.name or p.is_socket()])
        """,
        cwd=launch.home,
    )
    assert program.connection_file
    if visited:
        with program.client():
            (launch.home / "go").touch()
            assert program.wait() == 0
    (launch.home / "go").touch()
    assert (program.wait(), program.stderr) == (0, "")
    assert program.stdout == "late\n1\n[]\n"


def test_what_is_raised_while_a_finder_of_ours_is_asked_has_no_frame_of_ours() -> None:
    class Ours:
        def find_spec(self, name: str, path: object, target: object) -> None:
            return None

    class Programs(Ours):
        def find_spec(self, name: str, path: object, target: object) -> None:
            if name == "spam":
                raise KeyboardInterrupt

    ours, programs = Ours(), Programs()
    sys.meta_path.insert(0, programs)
    try:
        finders.put(ours)
        with pytest.raises(KeyboardInterrupt) as raised:
            importlib.import_module("spam")
    finally:
        finders.take(ours)
        sys.meta_path.remove(programs)
    names = [Path(entry.path).name for entry in raised.traceback]
    assert "finders.py" not in names
    assert names.count(Path(__file__).name) == 2
