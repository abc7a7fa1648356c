"""Several clients of one shell: each is served in its turn, however much another one asks."""

import pytest
from harness import PATIENCE, Client, Launcher, wait_for
from mirrored import Obedient

PROGRAM = "import time\nran = []\nwhile True: time.sleep(0.01)"

# Holds the shell until so many requests wait behind it.
HOLD = """
import time
waiting = get_ipython().kernel._clients.waiting
while waiting() < {}: time.sleep(0.01)
"""


def ask(client: Client, code: str, shell: str | None = None) -> str:
    """Ask a subshell, or the main shell, to run a cell; return the request's id."""
    return client.send_to(shell, code, stop_on_error=True)


def crowd(
    client: Client, code: str, number: int, others: int = 0, end: str = "", shell: str | None = None
) -> list[str]:
    """Ask for cells that wait until all these and some of others do; return their ids."""
    held = ask(client, HOLD.format(number + others) + end, shell)
    return [held, *(ask(client, code, shell) for _ in range(number))]


def wait_for_crowd(client: Client, number: int, shell: str | None = None) -> None:
    """Wait until so many requests are before the next, as a shell that is free sees them."""

    def are_there() -> bool:
        reply = client.finish(ask(client, "print(get_ipython().kernel._clients.waiting())", shell))
        return int(reply.stdout) >= number

    wait_for(are_there, f"{number} requests to wait")


def new_shell(client: Client) -> str:
    shell: str = client.control("create_subshell_request")["subshell_id"]
    return shell


def statuses(client: Client, requests: list[str]) -> list[str]:
    return [client.shell_reply(request)["status"] for request in requests]


def test_nobody_waits_behind_all_cells_of_another_client(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one, program.client() as another:
        beside = new_shell(another)
        asked = crowd(one, "ran.append('one')", 100, others=3)
        wait_for_crowd(another, 100, beside)
        also = [another.send(f"ran.append({number})") for number in range(3)]
        assert statuses(another, also) == ["ok"] * 3
        assert set(statuses(one, asked)) == {"ok"}
        ran = one.value("ran")
        assert [who for who in ran if who != "one"] == [0, 1, 2]
        assert ran.index(2) < 10
        assert ran.count("one") == 100


@pytest.mark.parametrize("then", ["", "rtconsole.stop_console()"])
def test_a_program_ends_in_silence_while_many_requests_wait(launch: Launcher, then: str) -> None:
    obedient = Obedient(launch, "import rtconsole, time")
    with obedient.program.client() as one:
        asked = crowd(one, "time.sleep(0.02)", 100)
        assert statuses(one, asked[:3]) == ["ok"] * 3
        obedient.do(then)
        assert obedient.end() == 0
    assert (obedient.program.stdout, obedient.program.stderr) == ("", "")


def test_an_error_skips_the_same_clients_cells_that_wait_and_no_later_one(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one, program.client() as another:
        beside = new_shell(another)
        asked = crowd(one, "ran.append('one')", 20, others=20, end="1/0")
        wait_for_crowd(another, 20, beside)
        also = [another.send("ran.append('another')") for _ in range(20)]
        assert statuses(one, asked) == ["error", *["aborted"] * 20]
        assert statuses(another, also) == ["ok"] * 20
        assert another.value("ran") == ["another"] * 20
        assert one.run("ran.append('one')").status == "ok"


def test_a_cell_that_is_sent_upon_an_errors_reply_is_not_skipped(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one:
        one.run("""
            kernel, abort = get_ipython().kernel, get_ipython().kernel._abort_queues
            kernel._abort_queues = lambda *arguments: (time.sleep(0.3), abort(*arguments))
        """)  # as on a machine that has no time for the shell's thread
        for _ in range(3):
            assert one.shell_reply(ask(one, "1 / 0"))["status"] == "error"
            assert one.shell_reply(ask(one, "1 + 1"))["status"] == "ok"


def test_an_error_on_the_control_channel_skips_no_cell(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one, program.client() as another:
        beside = new_shell(another)
        asked = crowd(one, "ran.append('one')", 5, others=1)
        wait_for_crowd(another, 5, beside)
        failing = {"code": "1/0", "silent": False, "stop_on_error": True}
        assert another.control("execute_request", **failing)["ename"] == "ZeroDivisionError"
        also = another.send("ran.append('another')")
        assert statuses(one, asked) == ["ok"] * 6
        assert statuses(another, [also]) == ["ok"]


def test_who_attaches_beside_a_crowd_of_cells_finds_silence(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one:
        one.run("import threading; go = threading.Event()")
        asked = crowd(one, "go.wait(0.05); ran.append('one')", 200)
        with program.client() as another:
            assert another.value("go.set() or len(ran)") < 200
        assert one.finish(asked[-1], patience=2 * PATIENCE).status == "ok"
        assert one.value("ran") == ["one"] * 200


def test_a_subshell_serves_its_clients_in_turn_as_well(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as one, program.client() as another:
        shell = new_shell(one)
        asked = crowd(one, "ran.append('one')", 50, others=1, shell=shell)
        wait_for_crowd(another, 50)
        assert statuses(another, [ask(another, "ran.append('another')", shell)]) == ["ok"]
        assert set(statuses(one, asked)) == {"ok"}
        assert one.value("ran.index('another')") < 10
