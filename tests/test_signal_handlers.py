"""A signal's handler that raises amid a print: the program loses no more by us than without."""

import re
import sys
import textwrap
from ast import literal_eval
from pathlib import Path

import pytest
from harness import Client, Launcher, Program, wait_for
from mirrored import BUFFERS_ARE_SAFE

# Programs in which a handler raises at random moments, as of a timeout, begin with it. What they
# find out is written into a file: that it is complete is told by a last line.
TIMED = """
import itertools, os, random, signal, sys, time
class Timeout(Exception): pass
def handler(*_): raise Timeout
signal.signal(signal.SIGALRM, handler)
random.seed(1)
left, files = [], set()
def timer(seconds): signal.setitimer(signal.ITIMER_REAL, seconds)
def note(number, error):
    left.append(number)
    entry = error.__traceback__
    while entry is not None:
        files.add(entry.tb_frame.f_code.co_filename)
        entry = entry.tb_next
{before}
while not os.path.exists("go"): time.sleep(0.005)
{source}
timer(0)
with open("found", "w") as file: print((number, left, sorted(files)), file=file)
print("\\nthe end", flush=True)
while True: time.sleep(60)
"""

# The text stream hands on some kilobytes at a time, and its buffer as many.
FLOOD = """
numbers = itertools.count()
for _ in range(400):
    try:
        timer(random.uniform(50e-6, 500e-6))
        for number in numbers: print(f"<{number}>", "x" * 40)
    except Timeout as error: note(number, error)
"""

# Each print is the first after quiet: it wakes who sends it.
AFTER_QUIET = """
for number in range(300):
    try:
        time.sleep(0.007)
        timer(random.uniform(1e-6, 60e-6))
        print(f"<{number}>", "x" * 40)
        timer(0)
    except Timeout as error: note(number, error)
"""

BYTES = FLOOD.replace(
    'print(f"<{number}>", "x" * 40)', 'sys.stdout.buffer.write(b"<%d>\\n" % number)'
)


# There a program loses some kilobytes in such a flood without a console, too.
PYTHON_LOSES_TEXT = sys.version_info >= (3, 14)


def timed(launch: Launcher, source: str, before: str = "") -> Program:
    source = TIMED.replace("{source}", textwrap.dedent(source)).replace("{before}", before)
    return launch(source, cwd=launch.home)


def shown_until(client: Client, text: str) -> str:
    """Return what the client is shown of the program's stdout until it ends with ``text``."""
    shown = ""
    while not shown.endswith(text):
        message = client.iopub("stream")
        if message["content"]["name"] == "stdout":
            shown += message["content"]["text"]
    return shown


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"<(\d+)>", text)]


@pytest.mark.parametrize("state", ["attached", "in a cell"])
@pytest.mark.parametrize(
    ("source", "before"),
    [
        pytest.param(FLOOD, "", id="flood"),
        pytest.param(FLOOD, "sys.stdout = open('own', 'w')", id="flood, stream of its own"),
        pytest.param(AFTER_QUIET, "", id="after quiet"),
        pytest.param(
            BYTES,
            "",
            id="bytes",
            marks=pytest.mark.skipif(not BUFFERS_ARE_SAFE, reason="the buffer has no hook there"),
        ),
    ],
)
def test_what_a_handler_leaves_costs_nothing_that_was_written_before(
    launch: Launcher, source: str, before: str, state: str
) -> None:
    program = timed(launch, source, before)
    with program.client() as client:
        client.run("import os")
        if state == "in a cell":
            client.send("while True: os.times()")
            wait_for(lambda: client.iopub("execute_input"), "the cell")
        (launch.home / "go").touch()
        shown = shown_until(client, "\nthe end\n")
    last, left, files = literal_eval((launch.home / "found").read_text())
    text = (launch.home / "own").read_text() if before else program.stdout
    printed = numbers_in(text)
    assert len(printed) == len(set(printed))
    assert {*range(last)} - {*printed} <= {*left} or (source is FLOOD and PYTHON_LOSES_TEXT)
    assert {*printed} - {*numbers_in(shown)} <= {*left}
    assert [name for name in files if Path(name).name != "program.py"] == []
    assert len(left) > 50
