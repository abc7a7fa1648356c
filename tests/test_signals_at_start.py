"""A signal's handler that raises while a console is starting: there is none, and nothing of one."""

import pytest
from harness import Launcher

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
    if {hides} and at > 5 and [*names(raised.__traceback__)] != ["<module>"]:
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
