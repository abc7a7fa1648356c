"""``jupyter console --existing`` in a pseudo-terminal, typed into as a person would."""

import sys
from collections.abc import Iterator

import pexpect
import pyte
import pytest
from harness import PATIENCE, Launcher, Program, wait_for
from mirrored import Obedient


class Terminal:
    """A jupyter console on a terminal of its own."""

    def __init__(
        self, program: Program, launch: Launcher, existing: str, term: str = "dumb"
    ) -> None:
        env = launch.environment(
            RTCONSOLE="1",  # as a user would have it exported
            TERM=term,
            PROMPT_TOOLKIT_NO_CPR="1",
            NO_COLOR="1",
        )
        self.child = pexpect.spawn(
            sys.executable,
            [
                "-m",
                "jupyter",
                "console",
                *(["--existing", existing] if existing else ["--existing"]),
            ],
            env=env,
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(50, 200),
        )
        color = r"(?:\x1b\[[\d;]*m)?"
        self.child.expect(rf"In \[{color}\d+{color}\]: ")

    def type(self, line: str) -> None:
        self.child.sendline(line)

    def expect(self, pattern: str) -> None:
        self.child.expect(pattern)

    def expect_end(self) -> None:
        self.child.expect(pexpect.EOF)


@pytest.fixture(params=["by pid", "the newest"])
def terminal(
    request: pytest.FixtureRequest, counter: Program, launch: Launcher
) -> Iterator[Terminal]:
    existing = str(counter.pid) if request.param == "by pid" else ""
    opened = Terminal(counter, launch, existing)
    try:
        yield opened
    finally:
        opened.child.close(force=True)


def test_what_one_types_there_is_live(terminal: Terminal, counter: Program) -> None:
    terminal.type("t > 0, t.__class__")
    terminal.expect(r"\(True, int\)")
    terminal.type("print('x' * 30)")
    terminal.expect("x{30}")
    terminal.type("nothing")
    terminal.expect("NameError")
    terminal.type("hello??")
    terminal.expect("Return what comes after x.")
    terminal.type("hello = lambda x: 10**12 + t")
    terminal.type("s > 10**12")
    with counter.client() as client:
        wait_for(lambda: client.value("s") > 10**12, "the program to use the new function")
    terminal.type("s > 10**12")
    terminal.expect("True")
    terminal.type("def f(): global z; z = t; return z")
    terminal.type("")
    terminal.type("f() == z")
    terminal.expect("True")
    terminal.type("exit")
    terminal.expect_end()
    assert counter.is_running()
    with counter.client() as client:
        assert client.run("'and the next client'").result == "'and the next client'"
    assert counter.stderr == ""


@pytest.mark.parametrize("leave", ["quit", "exit()", "\x04"])
def test_leaving_it_stops_nothing(counter: Program, launch: Launcher, leave: str) -> None:
    terminal = Terminal(counter, launch, str(counter.pid))
    try:
        terminal.type("1 + 1")
        terminal.expect("2")
        if leave == "\x04":
            question = r"\(\[?y\]?/n\)|Do you|really"
            terminal.expect(r"In \[2\]: ")
            terminal.child.send(leave)
            # before it reads keys the terminal takes it for an end of input, and forgets it
            while terminal.child.expect([question, pexpect.TIMEOUT], timeout=5):
                terminal.child.send(leave)
            terminal.type("y")
        else:
            terminal.type(leave)
        terminal.expect_end()
    finally:
        terminal.child.close(force=True)
    with counter.client() as client:
        assert client.run("'still here'").result == "'still here'"


def test_a_progress_bar_in_the_program_is_one_moving_line(launch: Launcher) -> None:
    obedient = Obedient(launch, "import tqdm")
    terminal = Terminal(obedient.program, launch, str(obedient.program.pid), term="xterm")
    screen = pyte.Screen(200, 50)
    stream = pyte.Stream(screen)

    def show(result: str) -> None:
        """Have it read what has come in, which it does after a command."""
        terminal.type(result)
        while not any("Out" in line and result in line for line in screen.display):
            stream.feed(terminal.child.read_nonblocking(10_000, timeout=PATIENCE))

    try:
        show("'attached'")
        obedient.do("for n in tqdm.trange(40, ncols=60, mininterval=0): time.sleep(0.002)")
        show("'done'")
        # one line of the forty; two, if it was in the middle when the prompt came
        bars = [line for line in screen.display if "%|" in line]
        assert 1 <= len(bars) <= 2, bars
        assert "100%|" in bars[-1]
        assert "| 40/40 [" in bars[-1]
    finally:
        terminal.child.close(force=True)
    assert obedient.program.stderr_file.read_bytes().count(b"\r") > 10
