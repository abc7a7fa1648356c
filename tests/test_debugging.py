"""Debuggers in a cell, and questions: they are the client's, and leave the program's terminal."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attaching import Attach
from attaching import attach as attach
from harness import Client, Launcher, Program, Reply, wait_for

PROGRAM = """
import os, time
def inner(n):
    secret = 41 + n
    return 1 / (secret - 42)
def stops(n):
    breakpoint()
    return n + 1
t = 0
while True:
    t += 1
    time.sleep(0.01)
"""


def converse(client: Client, code: str, *answers: str) -> tuple[Reply, list[str]]:
    """Run a cell that asks; return its reply, and what it asked."""
    request = client.send(code, allow_stdin=True)
    asked = []
    for answer in answers:
        message = client.kernel.get_stdin_msg(timeout=30)
        asked.append(message["content"]["prompt"])
        client.kernel.input(answer)
    return client.finish(request), asked


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_debug_looks_into_the_frames_of_the_last_error(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        assert client.run("inner(1)").error == "ZeroDivisionError"
        answers = ("p 'the', secret", "u", "p 'and', t > 0", "q")
        reply, asked = converse(client, "%debug", *answers)
        assert asked == ["ipdb> "] * 4
        output = plain(reply.stdout)
        assert "return 1 / (secret - 42)" in output
        assert "('the', 42)" in output
        assert "('and', True)" in output
        assert client.run("t > 0").result == "True"
    assert (program.stdout, program.stderr) == ("", "")


def test_a_frames_source_is_found_without_a_look_at_each_modules_file(launch: Launcher) -> None:
    program = launch("import inspect\n" + PROGRAM)
    with program.client() as client:
        assert "return 1 / (secret - 42)" in plain(client.run("inner(1)").traceback)
        assert "source" in plain(client.run("exec('1/0')").traceback)
        client.run("inner(1)")
        reply, _ = converse(client, "%debug", "longlist", "q")
        assert "secret = 41 + n" in plain(reply.stdout)
        assert client.value("inspect.modulesbyfile") == {}
        where = "inspect.getmodule(inspect.currentframe())"  # a cell asks as ever
        assert client.value(f"{where} is None and len(inspect.modulesbyfile) > 99")


def test_automatic_debugging_follows_an_error(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        client.run("%pdb on")
        reply, asked = converse(client, "inner(1)", "p secret", "q")
        assert asked == ["ipdb> "] * 2
        assert "\n42\n" in plain(reply.stdout)
        client.run("%pdb off")
        assert client.run("inner(1)").error == "ZeroDivisionError"


def test_a_breakpoint_stops_the_cell_and_not_the_program(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        before = client.value("t")
        reply, asked = converse(client, "stops(1)", "p n", "p t > 0", "c")
        assert (asked, reply.result) == (["(Pdb) "] * 3, "2")
        assert "\n1\n" in plain(reply.stdout)
        wait_for(lambda: client.value("t") > before, "the program to go on")
    assert (program.stdout, program.stderr) == ("", "")


def test_a_step_goes_from_the_cell_into_the_program(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        reply, _ = converse(client, "%debug inner(3)", "s", "s", "n", "n", "p secret", "c")
        output = plain(reply.stdout)
        assert "\n44\n" in output
        assert "rtconsole" not in output


def test_a_person_debugs_at_the_terminal(launch: Launcher, attach: Attach) -> None:
    terminal = attach(launch(PROGRAM))
    terminal.enter("inner(1)")
    terminal.expect("^ZeroDivisionError")
    terminal.enter("%debug")
    terminal.expect_prompt("^ipdb>")
    terminal.enter("p 'the', secret")
    terminal.expect(r"^\('the', 42\)")
    terminal.expect_prompt("^ipdb>")
    terminal.press("c-d")
    terminal.expect_prompt(r"In\[\d\]:$")
    terminal.enter("%debug")
    terminal.expect_prompt("^ipdb>")
    terminal.press("c-c")  # which leaves IPython's debugger
    terminal.expect("^KeyboardInterrupt")
    terminal.expect_prompt(r"In\[\d\]:$")
    terminal.enter("stops(2)")
    terminal.expect_prompt(r"^\(Pdb\)")
    terminal.enter("p n + 40")
    terminal.expect("^42$")
    terminal.enter("c")
    terminal.expect(r"^Out\[\d\]: 3")


# Says of readline and of a window's change what it finds, when asked to.
TERMINAL = """
def terminal():
    import sys
    readline = sys.modules.get("readline")
    with open("/proc/self/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    import inspect, pdb
    return (
        readline is not None and (readline.get_completer_delims(), str(readline.get_completer())),
        "rlcompleter" in sys.modules, caught, str(inspect.signature(pdb.Pdb)),
    )
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "used", ["", "import readline, rlcompleter\nreadline.set_completer_delims('x')\n"]
)
def test_debuggers_leave_the_programs_terminal_alone(launch: Launcher, used: str) -> None:
    with launch(used + TERMINAL + PROGRAM).client() as client:
        before = client.value("terminal()")
        converse(client, "stops(1)", "c")
        converse(client, "import pdb; pdb.run('inner(2)', globals()); del pdb", "c")
        client.run("inner(1)")
        converse(client, "%debug", "q")
        converse(client, "from IPython.core.debugger import set_trace; set_trace()", "c")
        client.run("del set_trace")
        converse(client, "import code; code.interact(local={}); del code", "1", "exit()")
        assert client.value("terminal()") == before
    assert (before[0] is not False) == (used != "")


def test_a_program_debugs_itself_as_without_a_console(launch: Launcher) -> None:
    program = launch(
        "import code, pdb, os, sys, time\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "print('readline' in sys.modules, 'rlcompleter' in sys.modules)\n"
        "pdb.Pdb()\n"
        "import rlcompleter\n"
        "print('readline' in sys.modules, rlcompleter._readline_available)",
        cwd=launch.home,
    )
    alone = subprocess.run(
        [sys.executable, "-c", "import pdb, sys; print('readline' in sys.modules, "
         "'rlcompleter' in sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    with program.client() as client:
        client.run("1")
        (launch.home / "go").touch()
        assert program.wait() == 0, program.describe()
    assert program.stdout == alone + "True True\n"


ASKER = """
import sys
import time
from pathlib import Path
from harness import Client
client = Client(Path(sys.argv[1])).ready()
client.run("inner(1)")
client.send(sys.argv[2], allow_stdin=True)
client.kernel.get_stdin_msg(timeout=30)
print("asked", flush=True)
sys.stdin.read()
"""

QUESTIONS = {
    "a question": "try: input('? ')\nexcept EOFError as error: said = str(error)",
    "a password": "import getpass\ntry: getpass.getpass()\nexcept EOFError: said = 1",
    "a debugger": "%debug",
    "a breakpoint": "stops(1)",
    "in a coroutine": "import asyncio; await asyncio.sleep(0); input()",
}


@pytest.mark.parametrize("code", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_ends_when_its_client_is_gone(launch: Launcher, code: str) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        client.run("inner(1)")
        client.send(code, allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=30)
    with program.client() as client:  # whose ready() waits for an answer of the shell
        assert client.run("6 * 7").result == "42"
        if "said" in code:
            assert client.run("said").status == "ok"
    assert (program.stdout, program.stderr) == ("", "")


def test_a_question_ends_when_its_client_is_killed(launch: Launcher) -> None:
    program = launch(PROGRAM)
    argv = [sys.executable, "-c", ASKER, str(program.connection_file), "%debug"]
    asker = subprocess.Popen(
        argv, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"asked\n"
    finally:
        asker.send_signal(signal.SIGKILL)
        asker.communicate()
    with program.client() as client:
        assert client.run("6 * 7").result == "42"


def test_a_question_waits_while_others_come_and_go(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        request = client.send("answer = input()", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=30)
        for _ in range(3):
            with program.client(ready=False) as other:
                other.control("kernel_info_request")
        looked_for = time.monotonic() + 1.5
        wait_for(lambda: time.monotonic() > looked_for, "the time in which it is looked for")
        client.kernel.input("here")
        assert client.finish(request).status == "ok"
        assert client.run("answer").result == "'here'"


def test_without_a_traceback_there_is_nothing_to_debug(counter: Program) -> None:
    with counter.client() as client:
        assert "nothing to debug" in client.run("%debug").stderr
