"""Beside a sub-interpreter with a lock of its own (PEP 684): its threads are left alone."""

import sys

import pytest
from harness import Launcher

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="all share one lock")

PROGRAM = """
import sys, threading, time
if sys.version_info < (3, 13):
    import _xxsubinterpreters
    other, run = _xxsubinterpreters.create(isolated=True), _xxsubinterpreters.run_string
else:
    import _interpreters
    other, run = _interpreters.create("isolated"), _interpreters.exec
def work(): run(other, '''
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
while True: even(20)
''')
threading.Thread(target=work, name="other", daemon=True).start()
def main():
    while True: time.sleep(0.01)
main()
"""


def test_stacks_are_told_without_making_objects_of_its_frames(launch: Launcher) -> None:
    program = launch(PROGRAM, name="program.py")
    with program.client() as client:
        for _ in range(1000):
            reply = client.control("stack_request")
        main, *others = reply["threads"]
        assert (main["main"], main["name"]) == (True, "MainThread")
        assert [place["function"] for place in main["stack"]] == ["<module>", "main"]
        assert main["stack"][-1]["source"] == "while True: time.sleep(0.01)"
        assert main["stack"][-1]["file"].endswith("program.py")
        (other,) = (thread for thread in others if not thread["console"])
        assert other["name"] == "other"
        assert other["stack"][-1]["function"] == "work"
        assert client.value("__import__('tempfile').tempdir") is None


def test_a_cell_is_interrupted_beside_it(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        for _ in range(10):
            message = client.send("print('begun')\nwhile True: pass")
            client.iopub("stream")
            client.interrupt()
            assert client.finish(message).error == "KeyboardInterrupt"
