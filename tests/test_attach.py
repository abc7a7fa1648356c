"""``rtconsole attach`` typed into as a person would: cells, output, interrupts, leaving."""

import os
import re
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attaching import Attach, attach, has, speaker
from harness import EXAMPLES, PATIENCE, Launcher, Program, wait_for

__all__ = ["attach", "speaker"]

Speaker = tuple[Program, Callable[..., None]]


def test_prints_arrive_at_an_untouched_prompt(speaker: Speaker, attach: Attach) -> None:
    program, say = speaker
    terminal = attach(program)
    terminal.type("half a li")
    terminal.expect_prompt("half a li$")
    say("a print\n")
    terminal.expect("^│ a print$")
    terminal.expect_prompt(r"In.*: half a li$")
    say("an error\n", "stderr", "worker")
    terminal.expect("^┃ an error$")
    assert terminal.color_of("an error") == "red"
    assert terminal.color_of("a print") == "default"
    say("\x1b[32mgreen\x1b[0m\x1b[2J\n")
    terminal.expect("^│ green$")
    assert terminal.color_of("green") == "green"
    # a line without end, then progress as tqdm shows it
    say("10%", "stderr")
    terminal.expect("^┃ 10%$")
    for percent in (20, 100):
        say(f"\r{percent}%", "stderr", "worker")
        terminal.expect(f"^┃ {percent}%$")
    say("meanwhile\n")
    terminal.expect("^│ meanwhile$")
    say("\nnext\n", "stderr")
    terminal.expect("^┃ next$")
    assert has(terminal, "^│ meanwhile\n┃ 100%\n┃ next$")
    assert not has(terminal, "[12]0%$")
    terminal.expect_prompt(r"In.*: half a li$")
    assert program.stdout_file.read_bytes() == b"a print\n\x1b[32mgreen\x1b[0m\x1b[2J\nmeanwhile\n"
    assert program.stderr_file.read_bytes() == b"an error\n10%\r20%\r100%\nnext\n"


def test_the_programs_prints_are_told_from_a_cells(speaker: Speaker, attach: Attach) -> None:
    program, say = speaker
    terminal = attach(program)
    terminal.enter("print('the cell says'); go = False; hold = threading.Event(); hold.wait()")
    terminal.expect("^the cell says$")
    say("the program says\n")
    terminal.expect("^│ the program says$")
    terminal.press("c-c", "c-c")
    terminal.expect_prompt("A fresh shell beside it")
    say("while it asks\n", "stderr", "worker")
    terminal.expect("^┃ while it asks$")
    terminal.press("enter")
    terminal.enter("hold.set()")
    terminal.expect("the cell that hung has ended")
    say("after the cell\n")
    terminal.expect("^│ after the cell$")
    with program.client() as other:
        other.run("print('nothing for the first one')")
        say("after another client's\n")
        terminal.expect("^│ after another client's$")
    assert not has(terminal, "nothing for the first one")


def test_the_programs_output_is_turned_off_and_on(speaker: Speaker, attach: Attach) -> None:
    program, say = speaker
    terminal = attach(program, "--quiet")
    say("unseen\n")
    for number in (1, 2):  # the first takes along what the program said before it
        terminal.enter(f"print('a cell', 'is seen', {number})")
        terminal.expect(f"^a cell is seen {number}$")
    terminal.press("f4")
    terminal.expect("output is shown")
    say("seen\n")
    terminal.expect("^│ seen$")
    terminal.press("c-o")
    terminal.expect("output is not shown")
    say("unseen\n", "stderr")
    terminal.enter("'the last'")
    terminal.expect("^Out.*the last")
    assert not has(terminal, "unseen")


def test_what_a_stuck_program_said_last_is_shown(launch: Launcher, attach: Attach) -> None:
    program = launch(
        """
        import sys, threading
        print("long ago")
        for n in range(3): print("retry", n)
        print("giving up", file=sys.stderr)
        lock = threading.Lock()
        lock.acquire()
        open("stuck", "w").close()
        lock.acquire()
        print("never")
        """,
        env={"RTCONSOLE_HISTORY": "40"},
        cwd=launch.home,
    )
    wait_for((launch.home / "stuck").exists, "the program to get stuck")
    terminal = attach(program)
    terminal.expect(r"^\(said before:\)\n(│.*\n)*│ retry 1\n│ retry 2\n┃ giving up$")
    assert not has(terminal, "long ago")
    terminal.enter("lock.release()")
    terminal.expect(r"^\(said since:\)\n│ never$")
    assert terminal.wait() == 0
    assert len(re.findall("retry 2", terminal.text)) == 1


def test_a_flood_leaves_the_keyboard_heard(launch: Launcher, attach: Attach) -> None:
    program = launch(
        """
        import itertools, os, sys, time
        sys.stdout = open(os.devnull, "w")
        for n in itertools.count():
            print("line", n)
            if n % 200 == 0: time.sleep(0.001)  # or on a busy machine no other thread has a turn
        """
    )
    terminal = attach(program, ready=False)

    seen = 0

    def expect(words: bytes) -> None:
        """Wait for what was written, since the screen shows it for a moment only."""
        nonlocal seen
        wait_for(lambda: terminal.raw.find(words, seen) >= 0, f"{words!r} on the terminal")
        seen = terminal.raw.find(words, seen)

    expect(b"line")
    terminal.enter("'the result' if n else None")
    expect(b"\x1b[0m 'the result'")
    expect(b"In[2]:")
    terminal.enter("while True: pass")
    expect(b"runs your cell:")
    terminal.press("c-c")
    expect(b"KeyboardInterrupt")
    expect(b"In[3]:")
    terminal.enter("exit")
    assert terminal.wait() == 0
    assert terminal.is_restored()
    assert terminal.prompt.endswith("which goes on")
    assert program.is_running()


def test_cells_results_errors_and_several_lines(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.enter("t > 0, t.__class__")
    terminal.expect(r"^Out\[1\]: \(True, int\)")
    terminal.enter("def f(x):")
    terminal.expect_prompt(r"\.\.\.")
    terminal.type("return x * 2\r\r")
    terminal.enter("f(21)")
    terminal.expect(r"^Out\[\d\]: 42$")
    terminal.enter("1/0")
    terminal.expect("^ZeroDivisionError: division by zero")
    assert terminal.color_of("ZeroDivisionError") != "default"
    terminal.enter("import sys; print('err', file=sys.stderr)")
    terminal.expect("^err$")
    terminal.enter("print('\\x1b[2Jno harm', '\\x1b]0;title\\x07')")
    terminal.expect("^no harm")
    terminal.enter("hello??")
    terminal.expect("Return what comes after x.")
    terminal.enter(
        "from IPython.display import HTML; HTML('<table><tr><td>cell</td></tr></table>')"
    )
    terminal.expect("Out.*: cell$")
    terminal.enter("sys.exit(3)")
    terminal.expect("The program goes on")
    assert counter.is_running()
    assert counter.stderr == ""


def test_ctrl_c_interrupts_the_cell_and_nothing_else(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.type("not to be run")
    terminal.expect_prompt("not to be run$")
    terminal.press("c-c")
    terminal.expect_prompt("In:$")
    with counter.client() as other:
        terminal.enter("while True: pass")
        terminal.expect_prompt("runs your cell:$")
        terminal.press("c-c")
        terminal.expect("^KeyboardInterrupt")
        terminal.expect_prompt(r"In\[\d\]:$")
        before = other.value("t")
        wait_for(lambda: other.value("t") > before, "the program to go on")
    assert counter.is_running()


def test_a_cell_that_hangs_costs_nobody_the_console(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.enter("import threading; lock = threading.Lock(); lock.acquire()")
    terminal.enter("print('no' + 'w'); lock.acquire()")
    terminal.expect("^now$")
    terminal.press("c-c", "c-c")
    terminal.expect("The cell does not stop")
    terminal.expect_prompt("A fresh shell beside it")
    terminal.press("enter")
    terminal.expect("^A fresh shell;")
    terminal.enter("6 * 7")
    terminal.expect(r"^Out\[\d+\]: 42")
    # interrupting there interrupts there
    terminal.enter("while 'beside': pass")
    terminal.expect_prompt("runs your cell:$")
    terminal.press("c-c")
    terminal.expect("while 'beside': pass\n(.*\n)+KeyboardInterrupt")
    assert not has(terminal, "the cell that hung has ended")
    terminal.enter("lock.release()")
    terminal.expect("the cell that hung has ended")
    terminal.press("c-d")
    assert terminal.wait() == 0
    with counter.client() as other:
        assert other.value("6 * 7") == 42
        assert other.control("list_subshell_request")["subshell_id"] == []
    assert counter.stderr == ""


def test_a_shell_can_be_had_beside_somebody_elses_cell(counter: Program, attach: Attach) -> None:
    with counter.client() as other:
        other.run("go = False")
        request = other.send("while not go: pass")
        terminal = attach(counter)
        terminal.enter("1 + 1")
        terminal.expect_prompt("runs your cell:$")
        terminal.press("c-c")
        terminal.expect("Another client's cell runs there")
        terminal.press("enter")
        terminal.expect("^A fresh shell;")
        terminal.enter("go = True")
        assert other.finish(request).status == "ok", "interrupted by somebody else's Ctrl-C"
        terminal.expect(r"^Out\[\d\]: 2")


@pytest.mark.parametrize("leave", ["\x04", "exit\r", "quit()\r", "\x1c"])
def test_leaving_stops_nothing_and_asks_nothing(
    counter: Program, attach: Attach, leave: str
) -> None:
    terminal = attach(counter)
    terminal.enter("1 + 1")
    terminal.expect(r"^Out\[1\]: 2")
    if leave == "\x1c":
        terminal.enter("while True: pass")
        terminal.expect_prompt("runs your cell:$")
    terminal.type(leave)
    assert terminal.wait() == 0
    assert terminal.is_restored()
    assert terminal.prompt.endswith("which goes on")
    assert counter.is_running()
    with counter.client(ready=False) as client:
        client.interrupt()
        assert client.ready().run("'still here'").result == "'still here'"
    assert counter.stderr == ""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("kill", "was killed by SIGKILL"),
        ("exit", "has ended with exit status 3"),
        ("exec", r"has replaced itself \(exec\) by: .*python"),
        ("close", "has closed its console"),
    ],
)
def test_the_programs_end_is_said_at_once(
    launch: Launcher, attach: Attach, end: str, said: str
) -> None:
    program = launch(
        """
        import os, sys, time
        from rtconsole import stop_console
        end = None
        while not end: time.sleep(0.01)
        if end == "exit": sys.exit(3)
        if end == "exec":
            del os.environ["RTCONSOLE"]
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
        if end == "close": stop_console()
        time.sleep(60)
        """
    )
    terminal = attach(program)
    terminal.type("half a li")
    if end == "kill":
        program.signal(signal.SIGKILL)
    else:
        with program.client() as client:
            client.send(f"end = {end!r}")
            assert terminal.wait() == 0
    assert terminal.wait() == 0
    assert terminal.is_restored()
    terminal.expect(rf"^program\.py \({program.pid}\) {said}")
    assert "half a li" not in terminal.prompt


def test_an_exec_into_another_program_with_a_console_is_told(
    launch: Launcher, attach: Attach
) -> None:
    program = launch(
        """
        import os, sys, time
        go = False
        while not go: time.sleep(0.01)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
        """
    )
    terminal = attach(program)
    terminal.enter("go = True")
    assert terminal.wait() == 0
    terminal.expect(rf"^If that has a console, too: rtconsole attach {program.pid}$")


def let_go(fifo: Path) -> None:
    """End the call into C in which a program opens a pipe that had no writer."""
    os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


def test_a_stopped_program_is_told_of_and_recovers(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    counter.signal(signal.SIGSTOP)
    terminal.expect(rf"is stopped .*kill -CONT {counter.pid}")
    counter.signal(signal.SIGCONT)
    terminal.expect("answers again")
    # one thread keeps the interpreter, as a long call into C may
    os.mkfifo(fifo := counter.home / "fifo")
    terminal.enter(f"import ctypes; ctypes.PyDLL(None).open(b'{fifo}', 0) > 2")
    terminal.expect("does not answer: something in it holds the interpreter")
    let_go(fifo)
    wait_for(lambda: terminal.text.count("answers again") == 2, "it to answer again")
    terminal.expect(r"^Out\[\d\]: True")


def test_a_held_interpreter_is_told_of_though_nothing_was_asked(
    launch: Launcher, attach: Attach
) -> None:
    program = launch(
        """
        import ctypes, os, time
        while not os.path.exists("hold"): time.sleep(0.01)
        ctypes.PyDLL(None).open(b"fifo", os.O_RDONLY)
        time.sleep(60)
        """,
        cwd=launch.home,
    )
    os.mkfifo(fifo := launch.home / "fifo")
    terminal = attach(program)
    terminal.enter("6 * 7")
    terminal.expect_prompt(r"In\[2\]:$")
    (launch.home / "hold").touch()
    terminal.expect("does not answer: something in it holds the interpreter")
    let_go(fifo)
    terminal.expect(r"answers again")


def test_a_process_that_ends_while_attaching(counter: Program, attach: Attach) -> None:
    counter.signal(signal.SIGSTOP)
    terminal = attach(counter, ready=False)
    terminal.expect(rf"^waiting for counter.py \({counter.pid}\) to answer")
    counter.signal(signal.SIGKILL)
    assert terminal.wait() == 5
    terminal.expect(rf"^rtconsole: counter.py \({counter.pid}\) was killed by SIGKILL, before it")
    assert terminal.is_restored()
    assert not has(terminal, "Traceback")


def test_giving_up_before_the_first_answer(counter: Program, attach: Attach) -> None:
    counter.signal(signal.SIGSTOP)
    terminal = attach(counter, ready=False)
    terminal.expect("^waiting for counter.py .* Ctrl-C gives up$")
    terminal.press("c-c")
    assert terminal.wait() == 130
    assert not has(terminal, "Traceback")
    counter.signal(signal.SIGCONT)


def test_ended_from_outside_it_gives_the_terminal_back(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.process.terminate()
    assert terminal.wait() == 0
    assert terminal.is_restored()
    # a terminal that is closed: the window, the connection
    terminal = attach(counter)
    terminal.hang_up()
    terminal.process.wait(PATIENCE)
    with counter.client() as client:
        assert client.value("1 + 1") == 2


def test_without_colours(speaker: Speaker, attach: Attach) -> None:
    program, say = speaker
    terminal = attach(program, env={"NO_COLOR": "1"})
    say("\x1b[31mred\x1b[0m\n", "stderr")
    terminal.expect("^┃ red$")
    terminal.enter("1/0")
    terminal.expect("^ZeroDivisionError: ")
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]m", terminal.raw)


def test_input_and_getpass_ask_at_the_prompt(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.enter("who = input('Who? ')")
    terminal.expect_prompt(r"^Who\?")
    terminal.enter("Zoë")
    terminal.expect_prompt(r"In\[\d\]:$")
    terminal.enter("import getpass; word = getpass.getpass('Word: ')")
    terminal.expect_prompt("^Word:")
    terminal.enter("secret")
    terminal.expect_prompt(r"In\[\d\]:$")
    assert "secret" not in terminal.text
    assert b"secret" not in terminal.raw
    terminal.enter("who, len(word)")
    terminal.expect(r"\('Zoë', 6\)")
    terminal.enter("input('More? ')")
    terminal.expect_prompt(r"^More\?")
    terminal.press("c-c")
    terminal.expect("^KeyboardInterrupt")
    terminal.expect_prompt(r"In\[\d\]:$")
    terminal.enter("input('More? ')")
    terminal.expect_prompt(r"^More\?")
    terminal.press("c-d")
    terminal.expect("^EOFError")
    history = next((counter.home / ".local/state/rtconsole/history").iterdir()).read_text()
    assert "getpass" in history
    assert "secret" not in history


def test_completion_signatures_and_docstrings(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.type("hel")
    terminal.press("tab")
    terminal.expect(r"^\s+hello  +function")
    terminal.press("c-c")
    terminal.type("x = hello(")
    terminal.press("s-tab")
    terminal.expect(r"Signature: hello\(x\)")
    terminal.expect("Return what comes after x.")
    terminal.expect_prompt(r"x = hello\($")
    terminal.press("c-c")
    terminal.type("import tex")
    terminal.press("tab")
    terminal.expect_prompt("import textwrap|textwrap")


def test_history_is_kept_for_each_program_with_search(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    terminal.enter("'the first'")
    terminal.expect(r"^Out\[1\]: 'the first'")
    terminal.enter("'the second'")
    terminal.expect(r"^Out\[2\]: 'the second'")
    terminal.press("c-d")
    assert terminal.wait() == 0
    kept = counter.home / ".local/state/rtconsole/history/counter.py"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    terminal = attach(counter)
    terminal.press("up")
    terminal.expect_prompt("'the second'$")
    terminal.press("c-c")
    terminal.press("c-r")
    terminal.expect("I-search")
    terminal.type("fir")
    terminal.expect("'the first'")
    terminal.press("enter")
    terminal.expect_prompt("'the first'$")
    terminal.press("enter")
    terminal.expect(r"^Out\[\d\]: 'the first'")


def test_several_people_see_of_each_other(counter: Program, attach: Attach) -> None:
    quiet = attach(counter)
    follower = attach(counter, "--follow")
    quiet.enter("print('from', 'one'); 40 + 2")
    quiet.expect("^Out.*42")
    follower.expect(r"^» another client: print\('from', 'one'\); 40 \+ 2$")
    follower.expect("^» from one$")
    follower.expect(r"^» Out\[1\]: 42$")
    follower.enter("'from two'")
    follower.expect(r"^Out\[2\]: 'from two'$")
    quiet.expect("^» another client runs a cell$")
    assert "from two" not in quiet.text
    quiet.expect_prompt(r"In\[3\]:$")


def test_resizing_and_a_narrow_terminal(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, columns=20, rows=8)
    terminal.expect_prompt(rf"^{counter.pid}>$")
    terminal.enter("list(range(12))")
    terminal.expect(r"0, 11\]$")
    terminal.resize(100, 30)
    terminal.expect_prompt(rf"^counter.py {counter.pid} In\[2\]:$")
    terminal.enter("'x' * 70")
    terminal.expect("^Out.*'x{70}'$")
    terminal.resize(20, 8)
    terminal.expect_prompt(rf"^{counter.pid}>$")
    terminal.enter("6 * 7")
    terminal.expect("^Out.*42")


def test_five_hundred_lines_are_pasted(counter: Program, attach: Attach) -> None:
    terminal = attach(counter)
    cell = "total = 0\n" + "\n".join(f"total += {n}" for n in range(499))
    terminal.paste(cell)
    terminal.expect_prompt(r"total \+= 498$")
    terminal.press("enter")
    terminal.enter("total")
    terminal.expect(rf"^Out\[2\]: {sum(range(499))}$")
    # a terminal without bracketed paste types it: each line is a cell, none is lost
    terminal.type("".join(f"total -= {n}\r" for n in range(50)))
    terminal.enter("total, 'left'")
    terminal.expect(rf"Out\[53\]: \({sum(range(50, 499))}, 'left'\)")


def test_vi_keys(counter: Program, attach: Attach) -> None:
    terminal = attach(counter, "--vi")
    terminal.type("1 + 1")
    terminal.press("escape")
    terminal.expect_prompt(r"1 \+ 1$")
    terminal.type("0")
    terminal.type("x")
    terminal.expect_prompt(r"In: \+ 1$|In:  \+ 1$")
    terminal.press("enter")
    terminal.expect(r"^Out\[1\]: 1")


def test_edit_load_and_long_help_use_the_persons_own_programs(
    launch: Launcher, attach: Attach
) -> None:
    program = launch(EXAMPLES / "counter.py", env={"TMPDIR": str(launch.home)})
    assert program.connection_file
    editor = launch.script(
        f"""\
        #!{sys.executable}
        import sys
        open(sys.argv[-1], "w").write("edited = 6 * 7\\n")
        """,
        "editor",
    )
    pager = launch.script(
        f"""\
        #!{sys.executable}
        import sys
        print("paged", len(sys.stdin.read()) > 1000)
        """,
        "pager",
    )
    for script in (editor, pager):
        script.chmod(0o700)
    terminal = attach(program, env={"EDITOR": str(editor), "PAGER": str(pager)}, rows=20)
    terminal.enter("%edit")
    terminal.expect_prompt(r"edited = 6 \* 7$")
    terminal.press("enter")
    terminal.enter("edited")
    terminal.expect("^Out.*42")
    terminal.enter("print?")
    terminal.expect("^Type: +builtin")
    terminal.enter("import argparse")
    terminal.enter("argparse?")
    terminal.expect("^paged True")
    script = launch.script("loaded = 'from a file'\n", "some.py")
    terminal.enter(f"%load {script}")
    terminal.expect_prompt("loaded = 'from a file'$")


def test_images_are_saved_where_the_terminal_shows_none(counter: Program, attach: Attach) -> None:
    from test_attach_lines import PNG

    show = f"import base64; from IPython.display import Image; Image(base64.b64decode('{PNG}'))"
    terminal = attach(counter, env={"TMPDIR": str(counter.home)}, columns=200)
    terminal.enter(show)
    terminal.expect(rf"\(image/png 2x3 saved as {counter.home}/rtconsole-.*\.png\)")
    terminal = attach(counter, env={"TERM_PROGRAM": "WezTerm"}, columns=200)
    terminal.enter(show)
    terminal.expect_prompt(r"In\[\d\]:$")
    wait_for(lambda: b"\x1b]1337;File=inline=1;" in terminal.raw, "the image")
