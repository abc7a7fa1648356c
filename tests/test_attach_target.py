"""Which process ``rtconsole attach`` attaches to, and what it says where it cannot."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attaching import Attach, attach
from commands import may_unshare
from harness import Launcher, Program, wait_for
from terminal import Terminal

__all__ = ["attach"]

SLEEPER = "import time\ntime.sleep(100)\n"


# A new world of processes: other tests' programs are not to be seen there.
WORLD = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]

needs_a_world = pytest.mark.skipif(not may_unshare(*WORLD[1:]), reason="no namespaces here")


@pytest.fixture
def alone(launch: Launcher) -> Iterator[Callable[[str], Terminal]]:
    """Attach without a target where only the given program runs, if any."""
    opened: list[Terminal] = []

    def attach_alone(program: str) -> Terminal:
        env = launch.environment(RTCONSOLE_DEBUG=None)
        started = f"{shlex.quote(sys.executable)} {program} &" if program else ""
        wait = "until ls $HOME/.local/share/jupyter/runtime/kernel-rt-*; do sleep 0.1; done"
        line = f"""
            {started} export RTCONSOLE=; {wait if program else ""} >/dev/null 2>&1
            {shlex.quote(sys.executable)} -m rtconsole attach; echo status $?
        """
        opened.append(Terminal([*WORLD, "sh", "-c", line], env))
        return opened[-1]

    try:
        yield attach_alone
    finally:
        for terminal in opened:
            terminal.close()


@needs_a_world
def test_the_only_process_is_the_one(launch: Launcher, alone: Callable[[str], Terminal]) -> None:
    terminal = alone(str(launch.script(SLEEPER)))
    terminal.expect_prompt(r"^program.py \d+ In:$")
    terminal.press("c-d")
    terminal.expect("^status 0")


@needs_a_world
def test_where_none_runs_it_says_how_to_start_one(alone: Callable[[str], Terminal]) -> None:
    terminal = alone("")
    terminal.expect("^rtconsole: no process with a console; start one with: RTCONSOLE=1 python")
    terminal.expect("^status 3")


def test_a_name_and_a_file_will_do(launch: Launcher, attach: Attach) -> None:
    one = launch(SLEEPER, name="zoë.py")
    two = launch(SLEEPER, name="other.py")
    assert one.connection_file
    assert two.connection_file
    attach("zoë").expect_prompt(rf"^zoë.py {one.pid} In:$")
    attach(two.connection_file).expect_prompt(rf"^other.py {two.pid} In:$")


def test_one_of_several_is_picked(launch: Launcher, attach: Attach) -> None:
    first = launch(SLEEPER, name="first.py")
    assert first.connection_file
    second = launch(SLEEPER, "--with=arguments", name="second.py")
    assert second.connection_file
    terminal = attach(None, ready=False)
    terminal.expect("^Attach to:")
    terminal.type(f"{launch.home.name} ")  # other tests have programs, too
    terminal.expect(rf"^> +{first.pid} +\S*first.py +\(dormant, \d+% CPU, \d+ MB, \w+\)")
    terminal.press("down")
    terminal.expect(rf"^> +{second.pid} .*second.py --with=arguments")
    terminal.press("up")
    terminal.expect(rf"^> +{first.pid} ")
    # the list lives
    third = launch(SLEEPER, name="third.py")
    terminal.expect(rf"^ +{third.pid} .*third.py")
    third.stop()
    wait_for(lambda: "third.py" not in terminal.text, "the list to be without it")
    terminal.type("with=arg")
    terminal.expect(rf"^> +{second.pid} ")
    wait_for(lambda: "first.py" not in terminal.text, "the list to be without it")
    terminal.type("zzz")
    terminal.expect("none matches")
    terminal.type("\x7f\x7f\x7f")
    terminal.expect(rf"^> +{second.pid} ")
    assert "kernel runs" not in second.log, "looking has woken it"
    terminal.press("enter")
    terminal.expect_prompt(rf"^second.py {second.pid} In:$")


@pytest.mark.parametrize("leave", ["escape", "c-c", "c-d"])
def test_the_picker_is_left_without_a_choice(launch: Launcher, attach: Attach, leave: str) -> None:
    for name in ("first.py", "second.py"):
        assert launch(SLEEPER, name=name).connection_file
    terminal = attach(None, ready=False, columns=20, rows=6)
    terminal.expect("^> ")
    terminal.press(leave)
    assert terminal.wait() == 0
    assert terminal.text == ""
    assert terminal.is_restored()
    assert all("kernel runs" not in program.log for program in launch.programs)


def test_bad_targets_get_one_clear_line(launch: Launcher, attach: Attach) -> None:
    def fails(target: str, status: int, *said: str) -> None:
        terminal = attach(target, ready=False, columns=200)
        assert terminal.wait() == status, terminal.text
        for words in said:
            terminal.expect(words)
        assert "Traceback" not in terminal.text
        assert terminal.is_restored()

    fails("4194303", 3, "^rtconsole: there is no process 4194303")
    fails(str(os.getpid()), 3, f"^rtconsole: process {os.getpid()} .* has no console")
    fails("nobody", 3, "^rtconsole: no process with a console is called 'nobody'")
    corrupt = launch.script("{ not json", "kernel-rt-1.json")
    fails(str(corrupt), 3, "^rtconsole: .*kernel-rt-1.json")
    foreign = launch.script('{"shell_port": 1}', "kernel-1.json")
    fails(str(foreign), 3, "^rtconsole: .*kernel-1.json")
    fails(str(launch.home / "nothing.json"), 3, "^rtconsole: .*nothing.json")
    first = launch(SLEEPER, name="same.py")
    second = launch(SLEEPER, name="same.py")
    for program in (first, second):
        assert program.connection_file
    fails("same", 3, "^rtconsole: 'same' matches 2 processes", str(first.pid), str(second.pid))
    first.stop()
    fails(str(first.pid), 3, f"^rtconsole: there is no process {first.pid}")


def test_without_a_terminal_exec_is_named(counter: Program, launch: Launcher) -> None:
    command = [sys.executable, "-m", "rtconsole", "attach", str(counter.pid)]
    env = launch.environment(RTCONSOLE=None)
    ended = subprocess.run(
        command, input="1 + 1\n", capture_output=True, text=True, env=env, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        "rtconsole: attach needs a terminal; in a pipe: rtconsole exec PID 'code'\n"
    )
    assert "kernel runs" not in counter.log


def test_a_terminal_that_cannot_move_its_cursor_is_told(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, ready=False, env={"TERM": "dumb"})
    assert terminal.wait() == 2
    terminal.expect("^rtconsole: attach needs a terminal that moves its cursor")


def test_a_kernel_that_cannot_boot_says_why(launch: Launcher, attach: Attach) -> None:
    bare = [sys._base_executable]  # type: ignore[attr-defined]
    probe = [*bare, "-c", "import importlib.util as u; print(u.find_spec('ipykernel'))"]
    if subprocess.run(probe, capture_output=True, text=True, check=True).stdout != "None\n":
        pytest.skip("the interpreter that this environment was made from has ipykernel")
    hook = Path(__file__).parent.parent / "sitehook" / "path"
    program = launch(SLEEPER, python=bare, env={"PYTHONPATH": str(hook)})
    assert program.connection_file
    terminal = attach(program)
    terminal.expect("no console in this process")
    terminal.enter("1 + 1")
    terminal.expect("^NoConsole: ModuleNotFoundError")
    terminal.press("c-d")
    assert terminal.wait() == 0
