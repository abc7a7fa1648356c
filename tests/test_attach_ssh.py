"""``rtconsole attach user@host:PID``: a person at a console on another machine."""

from attaching import Attach, attach
from harness import Launcher
from test_ssh import machine, pytestmark

__all__ = ["attach", "machine", "pytestmark"]


def test_a_console_on_another_machine(
    launch: Launcher, machine: dict[str, str], attach: Attach
) -> None:
    program = launch("answer = 42\nimport time\nwhile True: time.sleep(0.1)")
    assert program.connection_file
    terminal = attach(f"me@far:{program.pid}", env=machine)
    terminal.expect_prompt(rf"^program.py {program.pid} In:$")
    terminal.enter("answer")
    terminal.expect("^Out.*: 42")
    terminal.press("c-d")
    assert terminal.wait() == 0
    assert program.is_running()
    terminal = attach(f"me@far:{program.pid}", env=machine)
    program.stop()
    assert terminal.wait() == 0
    terminal.expect(rf"^program.py \({program.pid}\) has ended, or the connection")
    assert terminal.is_restored()
