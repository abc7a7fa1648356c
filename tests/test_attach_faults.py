"""``rtconsole attach`` where something beside it fails: the console goes on, or says why not."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alike
import psutil
import pytest
from attaching import Attach, has
from attaching import attach as attach
from harness import PATIENCE, Launcher, Program, wait_for
from terminal import Terminal

# A pager that takes the terminal until a line is typed, whatever else is pressed.
PAGER = f"""\
#!{sys.executable}
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"paged INT\\n"))
signal.signal(signal.SIGQUIT, lambda *_: os.write(1, b"paged QUIT\\n"))
sys.stdin.read()
print("paged", flush=True)
open("/dev/tty").readline()
"""


def goes_on(terminal: Terminal) -> None:
    """The console still runs cells, and shows what they come to."""
    terminal.expect_prompt(r"In(\[\d+\])?:$")
    terminal.enter("6 * 7")
    terminal.expect(r"^Out\[\d+\]: 42")
    assert not has(terminal, r"Traceback|Exception in callback")


def test_an_image_that_is_none_is_said_and_what_comes_after_it_is_shown(
    counter: Program, attach: Attach
) -> None:
    terminal = attach(counter)
    terminal.enter("display({'image/png': 'x'}, raw=True); display({'image/png': 5}, raw=True)")
    terminal.expect(r"^\(image/png, damaged\)\n\(image/png, damaged\)$")
    goes_on(terminal)


def test_a_message_that_cannot_be_shown_does_not_end_the_reading(
    counter: Program, attach: Attach
) -> None:
    terminal = attach(counter)
    terminal.enter("kernel = get_ipython().kernel")
    terminal.enter(
        "kernel.session.send(kernel.iopub_socket, 'stream', {'name': 'stdout'},"
        " parent=get_ipython().parent_header)"
    )
    terminal.expect(r"^\(a message of the program's cannot be shown: KeyError: 'text'\)")
    goes_on(terminal)


def test_a_cell_that_asks_for_nonsense_does_not_end_the_cells(
    counter: Program, attach: Attach
) -> None:
    terminal = attach(counter)
    for payload in ("{'source': 'page'}", "{'source': 'edit_magic'}"):
        terminal.enter(f"get_ipython().payload_manager.write_payload({payload})")
        terminal.expect("^.what the cell asks for cannot be done: KeyError")
        goes_on(terminal)


def test_a_file_of_another_machines_is_not_edited(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, env={"EDITOR": "echo edited"})
    payload = "{'source': 'edit_magic', 'filename': '/nowhere/x.py', 'line_number': 0}"
    terminal.enter(f"get_ipython().payload_manager.write_payload({payload})")
    terminal.expect("^./nowhere/x.py is not on this machine: it cannot be edited here.")
    assert not has(terminal, "^edited")
    goes_on(terminal)


def test_an_editor_or_pager_that_is_no_command_is_named(counter: Program, attach: Attach) -> None:
    surroundings = {"TMPDIR": str(counter.home), "EDITOR": "vi 'oops", "PAGER": 'less "'}
    terminal = attach(counter, env=surroundings, rows=12)
    terminal.enter("%edit")
    terminal.expect("^vi 'oops: No such file or directory")
    goes_on(terminal)
    terminal.enter("import argparse")
    terminal.enter("argparse?")
    terminal.expect('^less ": No such file or directory')
    goes_on(terminal)


def test_a_history_that_cannot_be_written_any_more_stays_in_memory(
    counter: Program, attach: Attach
) -> None:
    terminal = attach(counter)
    terminal.enter("1 + 1")
    terminal.expect(r"^Out\[1\]: 2")
    shutil.rmtree(counter.home / ".local/state/rtconsole")
    goes_on(terminal)
    terminal.press("up")
    terminal.expect_prompt(r"6 \* 7$")


def test_what_is_typed_in_another_encoding_is_run(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    os.write(terminal._master, b"text = '\xe9'; len(text)\r")  # Latin-1
    terminal.expect(r"^Out\[1\]: 1$")
    goes_on(terminal)


# ptrace(2), wait(2)
SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Have a child's main thread get no processor, and its other threads go on."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    if ptrace(SEIZE, pid, None, None) != 0:
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
    assert ptrace(INTERRUPT, pid, None, None) == 0
    assert os.waitpid(pid, ALL)[0] == pid
    try:
        yield
    finally:
        assert ptrace(DETACH, pid, None, None) == 0


def others_sleep(pid: int) -> bool:
    """Tell whether no thread but the main one runs, nor has been waiting for a child's end."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    return not psutil.Process(pid).children() and set(states) <= {"S"}


def test_what_is_pressed_in_a_pager_is_the_pagers(
    launch: Launcher, counter: Program, attach: Attach
) -> None:
    pager = launch.script(PAGER, "pager")
    pager.chmod(0o700)
    terminal = attach(counter, env={"PAGER": str(pager)}, rows=12)
    console = terminal.process.pid
    terminal.enter("import argparse; argparse")
    terminal.expect_prompt(r"In\[2\]:$")
    terminal.type("argparse")
    terminal.press("s-tab")
    terminal.expect("^paged$")
    wait_for(lambda: alike.is_asleep(console), "the console to wait")
    with held(console):  # so it hears of both keys when the pager has ended
        terminal.press("c-c")
        terminal.expect("paged INT$")
        terminal.press("c-\\")
        terminal.expect("paged QUIT$")
        terminal.press("enter")
        wait_for(lambda: others_sleep(console), "the pager to end")
    terminal.expect_prompt(r"In\[2\]: argparse$")
    terminal.press("c-c")
    goes_on(terminal)


def test_with_vi_keys_each_line_begins_in_insert_mode(counter: Program, attach: Attach) -> None:
    # Esc is one by itself when no other key follows for a second, or the next one is no Alt key
    terminal = attach(counter, "--vi")
    terminal.type("1 + 12")
    terminal.press("escape")
    terminal.type("x\r")  # in navigation mode
    terminal.expect(r"^Out\[1\]: 2$")
    goes_on(terminal)
    terminal.type("1 + 12")
    terminal.press("escape")
    terminal.type("x\x03")
    terminal.expect_prompt(r"In\[\d+\]:$")
    goes_on(terminal)
    terminal.type("who = input('Who? ')")
    terminal.press("escape")
    terminal.type("$\r")
    terminal.expect_prompt(r"^Who\?")
    terminal.enter("anna")
    terminal.expect(r"^Who\? anna$")


def test_what_answers_a_question_is_no_cell_however_it_is_entered(
    counter: Program, attach: Attach
) -> None:
    terminal = attach(counter, env={"EDITOR": "sh -c 'echo edited >$1' sh"})
    terminal.enter("import getpass; word = getpass.getpass('Word: ')")
    terminal.expect_prompt("^Word:$")
    terminal.type("\x18\x05")  # Ctrl-X Ctrl-E: no file for secrets
    terminal.type("secret\x1b\r")  # Alt-Enter
    terminal.expect_prompt(r"In\[\d+\]:$")
    terminal.enter("len(word)")
    terminal.expect(r"^Out\[\d+\]: 6$")
    history = (counter.home / ".local/state/rtconsole/history/counter.py").read_text()
    assert "getpass" in history
    assert "secret" not in history
    assert b"secret" not in terminal.raw


def test_ctrl_c_ends_a_search(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.enter("'the first'")
    terminal.expect(r"^Out\[1\]: 'the first'")
    terminal.press("c-r")
    terminal.type("first")
    terminal.expect("^I-search backward: first")
    terminal.press("c-c")
    terminal.expect_prompt(r"In\[2\]:$")
    goes_on(terminal)


def test_a_menu_fits_a_terminal_of_few_rows(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, columns=30, rows=5)
    terminal.type("hel")
    terminal.press("tab")
    terminal.expect(r"^\s+hello  +function")
    assert not has(terminal, "Window too small")


def test_a_key_that_fails_is_said_in_a_line(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, env={"EDITOR": "vi 'oops"})
    terminal.type("1 +")
    terminal.type("\x18\x05")
    terminal.expect(r"^\(that failed: ValueError: No closing quotation\)$")
    terminal.press("c-c")
    goes_on(terminal)


@pytest.mark.parametrize("how", ["Ctrl-\\", "SIGTERM", "hang-up"])
def test_leaving_before_the_first_answer(counter: Program, attach: Attach, how: str) -> None:
    counter.signal(signal.SIGSTOP)
    try:
        terminal = attach(counter, ready=False)
        terminal.expect("^waiting for counter.py .* Ctrl-C gives up$")
        if how == "hang-up":
            terminal.hang_up()
            terminal.process.wait(PATIENCE)
            return
        if how == "SIGTERM":
            terminal.process.terminate()
        else:
            terminal.press("c-\\")
        assert terminal.wait() == 0
        assert terminal.is_restored()
        terminal.expect(rf"left counter.py \({counter.pid}\), which goes on$")
    finally:
        counter.signal(signal.SIGCONT)


def test_an_answer_that_arrives_while_something_is_sent_is_read(counter: Program) -> None:
    from rtconsole.conversation import Connection

    async def converse() -> None:
        connection = Connection(counter.info)
        connection.open()
        await connection.request("control", "kernel_info_request", {}, PATIENCE)
        for channel in ("control", "shell") * 10:
            _, first = connection.send(channel, "connect_request", {})
            await asyncio.sleep(0)
            time.sleep(0.02)  # it arrives, and nobody has looked
            _, second = connection.send(channel, "connect_request", {})
            await asyncio.wait_for(asyncio.gather(first, second), PATIENCE)
        await connection.close()

    asyncio.run(converse())


def test_no_task_of_a_session_or_connection_dies_without_a_word() -> None:
    from rtconsole.console.tasks import Tasks
    from rtconsole.conversation import Connection

    said: list[object] = []

    async def fail() -> None:
        raise OSError("no more")

    async def session() -> None:
        tasks = Tasks(said.append, said.append)
        tasks.spawn(fail())
        tasks.spawn(fail(), is_vital=True)
        tasks.spawn(asyncio.sleep(PATIENCE))  # ends with the session, and is not told of
        connection = Connection(
            {"transport": "ipc", "ip": "/nowhere/s", "key": "k", "signature_scheme": "hmac-sha256"}
            | {f"{name}_port": 1 for name in ("shell", "iopub", "stdin", "control", "hb")}
        )
        connection.on_fault = lambda error, is_end: said.append((str(error), is_end))
        connection._start(fail())
        while len(said) < 3:
            await asyncio.sleep(0)
        await tasks.end()
        await connection.close()

    asyncio.run(asyncio.wait_for(session(), PATIENCE))
    warned, failed, told = said
    assert warned == "(that failed: OSError: no more)"
    assert isinstance(failed, OSError)
    assert told == ("no more", True)
