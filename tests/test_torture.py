"""CPython's own tests, the fast part; all of it is `make torture`."""

import importlib.util

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
        return torture.Run({"t.T.a": "ok", "t.T.b": "ok", **outcomes}, 1, 0, [], 0.0, "")

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
            return torture.Run({torture.WHOLE: "exit 1", torture.REMARKS: "none"}, 1, 0, [], 0, "")

    found, visited = Empty().differing("t")
    assert not visited
    assert [row.ours for row in found] == ["no tests"]
