"""The program's warnings: which it has shown, and that it is told of none of a client's."""

import sys

import pytest
import wire
from harness import PATIENCE, Client, Launcher, wait_for

# Warns in each turn, which is shown once: Python forgets at each change of the filters that it was.
WARNS = """
import os, time, warnings
while not os.path.exists("go"): time.sleep(0.01)
turns = 0
while not os.path.exists("stop"):
    warnings.warn("once for each line")
    turns += 1
    time.sleep(0.01)
"""

# What asks, and what it answers in turn.
QUESTIONS = {
    "%debug": ["dir()", "x = 1", "for one in 'ab': one", "", "q"],
    "__import__('code').interact()": ["x = 1", "raise SystemExit"],
    "breakpoint()": ["x + 1", "c"],
    "input()": ["x"],
}


def turn(client: Client) -> None:
    """Wait until the program has warned once more."""
    before = client.value("turns")
    wait_for(lambda: client.value("turns") > before, "a turn")


@pytest.mark.parametrize("first", ["", "import IPython.core.completer"])
def test_a_warning_that_was_shown_is_not_shown_again_because_of_a_visit(
    launch: Launcher, first: str
) -> None:
    """IPython and codeop change the filters, and the standard library where a process starts."""
    program = launch(f"{first}\n{WARNS}", cwd=launch.home)
    (launch.home / "go").touch()
    with program.client() as client:
        turn(client)
        for code in (
            "x = 1",
            "if x:",
            "if x:\n    1\n\n",
            "1 +",
            "f(",
            "'\\d'",
            "x is 1",
            "%%bash",
        ):
            client.shell_reply(client.kernel.is_complete(code))
            turn(client)
        for code in ("os.getc", "import o", "%tim", "'\\d'.spl"):
            client.shell_reply(client.kernel.complete(code))
            turn(client)
        client.shell_reply(client.kernel.inspect("os.getcwd", detail_level=1))
        for code in (
            "1 / 0",
            "def (",
            "await __import__('asyncio').sleep(0)",
            "os.getcwd?",
            "%timeit -n1 -r1 1",
            "!true",
            "%%bash\ntrue",
            "import subprocess; subprocess.run(['true'])",
            "import asyncio; await (await asyncio.create_subprocess_exec('true')).wait()",
            "1 / 0",
        ):
            reply = client.run(code)
            assert reply.error in (None, "ZeroDivisionError", "SyntaxError"), reply
            turn(client)
        for code, answers in QUESTIONS.items():
            asks = client.send(code)
            for answer in answers:
                client.kernel.get_stdin_msg(timeout=PATIENCE)
                client.kernel.input(answer)
            client.finish(asks)
            turn(client)
        assert client.value("(x, __import__('codeop').warnings is warnings)") == (1, True)
    (launch.home / "stop").touch()
    assert program.wait() == 0, program.describe()
    assert program.stderr.count("UserWarning") == 1, program.stderr


def test_a_warning_that_was_shown_while_a_cell_ran_is_not_shown_again(launch: Launcher) -> None:
    """The interpreter enters it in the globals, and so it does with what a cell is warned of."""
    program = launch(WARNS, cwd=launch.home)
    warning = "warnings.warn('of the cell')"
    with program.client() as client:
        client.run(f"while not globals().get('turns'): {warning}; open('go', 'w').close()")
        for _ in range(3):
            turn(client)
            assert "of the cell" in client.run(warning).stderr
        texts = "[key[0] for key in __warningregistry__ if key != 'version']"
        assert client.value(texts) == ["once for each line"]
    (launch.home / "stop").touch()
    assert program.wait() == 0, program.describe()
    assert program.stderr.count("UserWarning") == 1, program.stderr


def test_a_program_is_not_warned_of_code_that_is_completed_or_looked_at(launch: Launcher) -> None:
    program = launch(
        """
        import os, time, warnings
        seen = []
        warnings.showwarning = lambda message, *_, **__: seen.append(str(message))
        while not os.path.exists("stop"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        for code in ("'\\d'", "f'\\{1}'", "1if 1 else 2", "1 is 1"):
            client.shell_reply(client.kernel.is_complete(code))
        client.shell_reply(client.kernel.complete("'\\d'.spl"))
        client.shell_reply(client.kernel.inspect("'\\d'.split"))
        assert client.value("seen") == []


def test_clients_that_hang_up_where_there_is_no_kernel_warn_of_nothing(launch: Launcher) -> None:
    program = launch(
        """
        import os, sys, time
        sys.modules["ipykernel.kernelbase"] = None
        while not os.path.exists("stop"): time.sleep(0.01)
        """,
        python=[sys.executable, "-X", "dev"],
        cwd=launch.home,
    )
    with program.client() as client:
        assert client.run("1 + 1").error == "NoConsole"
        for _ in range(50):  # most have before they are greeted
            wire.connect(program.info, "shell").close()
        assert client.run("1 + 1").error == "NoConsole"
    (launch.home / "stop").touch()
    assert program.wait() == 0
    assert program.stderr == ""
