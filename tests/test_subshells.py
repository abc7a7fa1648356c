"""Cells that run at once, in the main shell and in a subshell: each has its own results."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness import Client, Program, wait_for

SLOW = """
import threading
shown, go_on = threading.Event(), threading.Event()
class Slow:
    def __repr__(self):
        shown.set()
        assert go_on.wait(30)
        return "slow"
class Odd:
    def __repr__(self):
        raise ValueError("odd")
"""


@contextmanager
def two(counter: Program) -> Iterator[tuple[Client, Client, str]]:
    """Attach two clients, and give the second one a subshell."""
    with counter.client() as first, counter.client() as second:
        shell = second.control("create_subshell_request")["subshell_id"]
        assert first.run(SLOW).status == "ok"
        yield first, second, shell


def test_a_tail_is_no_error_because_of_another_shells(counter: Program) -> None:
    with two(counter) as (first, second, shell):

        def shows() -> bool:
            tails = "len(get_ipython().kernel.output.publisher.tails)"
            return second.finish(second.send_to(shell, tails)).result == "1"

        tail = first.send("%tail")
        wait_for(shows, "the tail")
        assert second.finish(second.send_to(shell, "Odd()")).status == "error"
        second.interrupt()
        assert first.finish(tail).status == "ok"


def test_a_result_is_shown_beside_another_shells(counter: Program) -> None:
    with two(counter) as (first, second, shell):
        slow = first.send("Slow()")
        assert second.finish(second.send_to(shell, "shown.wait(30)")).result == "True"
        assert second.finish(second.send_to(shell, "1 / 0")).error == "ZeroDivisionError"
        assert second.finish(second.send_to(shell, "go_on.set(); 2")).result == "2"
        reply = first.finish(slow)
        assert (reply.status, reply.result) == ("ok", "slow")


def test_a_cell_that_awaits_is_no_error_after_a_result_that_could_not_be_shown(
    counter: Program,
) -> None:
    with counter.client() as client:
        client.run(SLOW)
        assert client.run("Odd()").error == "ValueError"
        assert client.run("import asyncio; await asyncio.sleep(0)").status == "ok"


def test_exit_leaves_the_client_that_said_it(counter: Program) -> None:
    with two(counter) as (first, second, shell):
        leaves = first.send("get_ipython().ask_exit(); shown.set(); go_on.wait(30)")
        reply = second.finish(second.send_to(shell, "shown.wait(30); go_on.set()"))
        assert reply.payload == []
        assert [one["source"] for one in first.finish(leaves).payload] == ["ask_exit"]
