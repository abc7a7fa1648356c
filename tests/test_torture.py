"""CPython's own tests, the fast part; all of it is `make torture`."""

import importlib.util
import signal
from collections import Counter
from pathlib import Path

import aborts
import pytest
import torture


@pytest.mark.skipif(
    importlib.util.find_spec("test.libregrtest") is None,
    reason="the interpreter came without its tests",
)
@pytest.mark.parametrize("module", torture.FAST)
def test_cpythons_own_tests_end_as_without_a_console(module: str) -> None:
    found, visited = torture.Torture(at_once=True).differing(module)
    explained = torture.known()
    assert [row for row in found if (torture.name_of(row.test), row.way) not in explained] == []
    assert visited


def test_an_outcome_is_found_beside_what_the_tests_print() -> None:
    text = """\
test_one (test.test_x.Case.test_one) ... ok
test_two (test.test_x.Case.test_two)
Its docstring. ... printed by the test
FAIL
test_three (test.test_x.Case.test_three) ... skipped 'no'
Warning -- threading_cleanup() failed to clean up 1 threads
test_timed (test.test_x.Case.test_timed) ... 0.25s ok
test_script (test.test_x.Case.test_script) ...
===== script _test_x.py ======
test_one (__main__.Case.test_one) ... ok
test_two (__main__.Case.test_two) ... ok

OK
===== script _test_x.py completed: exit code 0 ======
FAIL
test_four (test.test_x.Case.test_four) ... Fatal Python error: Aborted
"""
    assert torture.parsed(text) == {
        "test.test_x.Case.test_one": "ok",
        "test.test_x.Case.test_two": "FAIL",
        "test.test_x.Case.test_three": "skipped",
        "test.test_x.Case.test_timed": "ok",
        "test.test_x.Case.test_script": "FAIL",
        "test.test_x.Case.test_four": torture.NO_END,
        torture.REMARKS: "some",
    }


def test_what_a_test_never_did_without_a_console_is_a_difference_and_a_flaky_one_is_not() -> None:
    def came(**outcomes: str) -> torture.Run:
        return torture.Run({"t.T.a": "ok", "t.T.b": "ok", **outcomes}, 1, 0, [], 0.0, "", Counter())

    class Replayed(torture.Torture):
        """What a real run shows: ``a`` fails beside visits, ``b`` fails once, anywhere."""

        runs = 0

        def run(self, module: str, way: str, *_: object, **__: object) -> torture.Run:
            self.runs += 1
            if way == "visited":
                return came(**{"t.T.a": "FAIL", "t.T.b": "FAIL" if self.runs < 4 else "ok"})
            return came()

    found, visited = Replayed().differing("t")
    assert visited
    assert found == [torture.Difference("t", "t.T.a", "visited", "FAIL", "ok")]


def test_a_module_without_tests_is_no_success() -> None:
    class Empty(torture.Torture):
        def run(self, *_: object, **__: object) -> torture.Run:
            nothing = {torture.WHOLE: "exit 1", torture.REMARKS: "none"}
            return torture.Run(nothing, 1, 0, [], 0, "", Counter())

    found, visited = Empty().differing("t")
    assert not visited
    assert [row.ours for row in found] == ["no tests"]


LIBZMQ = """\
test_one (test.test_x.Case.test_one) ... Bad file descriptor (src/epoll.cpp:118)
Fatal Python error: Aborted

Thread 0x00007f0c1b7fe6c0 (most recent call first):
  File "x.py", line 7 in f
"""
CHILD = """\
test_one (test.test_x.Case.test_one) ... Assertion failed: ok (src/mailbox.cpp:99)
ok
test_two (test.test_x.Case.test_two) ... FAIL
AssertionError: process 123 exited with code -11, but exitcode 0 is expected
AssertionError: Process return code is -6 (SIGABRT)
AssertionError: Regex didn't match: '^Fatal Python error: Bus error' not found in ''
"""
WORKER = """\
test_x worker non-zero exit code (Exit code -11 (SIGSEGV))
"""
WANTED = """\
AssertionError: process 123 exited with code -9, but exitcode 0 is expected
test_one (test.test_x.Case.test_one) ... ok
"""


@pytest.mark.parametrize(
    ("output", "code", "ended"),
    [
        (LIBZMQ, -signal.SIGABRT, {"libzmq, epoll.cpp:118": 1}),
        (CHILD, 2, {"libzmq, mailbox.cpp:99": 1, "SIGSEGV": 1}),
        (WORKER, 2, {"SIGSEGV": 1}),
        ("Fatal Python error: Aborted\n", -signal.SIGABRT, {"Fatal Python error: Aborted": 1}),
        ("Fatal Python error: Bus error\n", 0, {"Fatal Python error: Bus error": 1}),
        ("", -signal.SIGSEGV, {"SIGSEGV": 1}),
        ("", -signal.SIGTERM, {"SIGTERM": 1}),
        (WANTED, -signal.SIGKILL, {}),  # by the tests, and by us after too long a time
    ],
)
def test_what_ended_a_process_is_found_in_its_output_and_counts_once(
    output: str, code: int, ended: dict[str, int]
) -> None:
    assert aborts.found(output, code) == ended


class Recorded(torture.Torture):
    """Runs of which only the first one's process is ended, if at all; all tests pass else."""

    def __init__(self, **ended: str) -> None:
        super().__init__()
        self.ended = ended

    def run(self, module: str, way: str, *_: object, **__: object) -> torture.Run:
        output = self.ended.pop(way, "test_one (test.test_x.Case.test_one) ... ok\n")
        found = torture.parsed(output)
        found[torture.WHOLE] = "exit 0"  # of the rest of the tests, run again
        return torture.Run(found, 1, 0, [], 0.0, output, aborts.found(output, 0))


def test_an_abort_counts_though_the_tests_pass_when_they_are_run_again() -> None:
    found, _ = Recorded(visited=LIBZMQ).differing("t")
    assert found == [
        torture.Difference("t", "(libzmq, epoll.cpp:118)", "visited", "1 of 4", "0 of 4")
    ]


def test_an_abort_of_a_child_counts_though_no_test_fails() -> None:
    found, _ = Recorded(dormant=LIBZMQ + "ok\n").differing("t")
    assert [(row.test, row.ours) for row in found] == [("(libzmq, epoll.cpp:118)", "1 of 1")]


def test_what_ends_bare_python_as_well_is_no_difference() -> None:
    crashed = LIBZMQ.replace("Bad file descriptor (src/epoll.cpp:118)", "")
    assert Recorded(without=crashed, visited=crashed).differing("t")[0] == []
    found, _ = Recorded(without=crashed, visited=crashed + crashed).differing("t")
    assert [row.test for row in found] == ["(Fatal Python error: Aborted)"]


ABORTS_ONCE = """
import os, unittest

class Case(unittest.TestCase):
    def test_that_aborts_once(self):
        if os.environ["RTCONSOLE"] == "1" and not os.path.exists({mark!r}):
            open({mark!r}, "w").close()
            os.abort()

    def test_other(self):
        pass
"""


@pytest.mark.skipif(
    importlib.util.find_spec("test.libregrtest") is None,
    reason="the interpreter came without its tests",
)
def test_a_process_that_aborts_in_one_run_only_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = ABORTS_ONCE.format(mark=str(tmp_path / "mark"))
    (tmp_path / "test_once.py").write_text(code)
    monkeypatch.setattr(torture, "ROUNDS", 1)

    class Unvisited(torture.Torture):
        def run(
            self, module: str, way: str, *tests: tuple[str, ...], **named: object
        ) -> torture.Run:
            return super().run(module, way.replace("visited", "dormant"), *tests, **named)

    found, _ = Unvisited(folder=tmp_path).differing("test_once")
    assert [row[1:] for row in found] == [
        ("(Fatal Python error: Aborted)", "dormant", "1 of 2", "0 of 2")
    ]
