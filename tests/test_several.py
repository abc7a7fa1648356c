"""exec in several processes, and tail: lines that say whose they are."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import SOMEBODY, argv, becoming, needs_users, run, status, wait_for_status
from harness import Launcher, Program, wait_for
from terminal import Terminal

SLEEP = "import os, time\nnumber = int(os.environ['NUMBER'])\nwhile True: time.sleep(0.1)"
# Prints what the lines of a file say, as they are added.
SPEAKER = """
    import sys, time
    print("kept", 1); print("kept", 2, file=sys.stderr); print("kept", 3)
    with open(sys.argv[1]) as orders:
        while True:
            order = orders.readline()
            if not order: time.sleep(0.01)
            else: exec(order)
"""


def start(launch: Launcher, count: int) -> list[Program]:
    programs = [launch(SLEEP, env={"NUMBER": str(n)}) for n in range(count)]
    assert all(program.connection_file for program in programs)
    return programs


def of(text: str, program: Program) -> list[str]:
    """Return the lines that are marked as a program's."""
    return re.findall(rf"^ *{program.pid} \| (.*)$", text, re.M)


def test_each_line_is_marked_and_a_summary_follows(launch: Launcher) -> None:
    programs = start(launch, 3)
    code = "print('of', number); print('half', end=''); 1 / (number - 1)"
    done = run(launch, "exec", *(str(p.pid) for p in programs), code)
    for number, program in enumerate(programs):
        lines = of(done.stdout, program)
        assert lines[:1] == [f"of {number}"]
        assert lines[-1].startswith("half")
        raised = "ZeroDivisionError: division by zero" in of(done.stderr, program)
        assert raised == (number == 1)
    assert done.stderr.endswith(f"3 processes: 2 ok, 1 raised ({programs[1].pid})\n")
    assert done.returncode == 1


def test_a_target_that_is_nothing_keeps_no_other_from_its_turn(launch: Launcher) -> None:
    (program,) = start(launch, 1)
    done = run(launch, "exec", "no-such-program", str(program.pid), "number + 41")
    assert of(done.stdout, program) == ["41"]
    assert "no-such-program | no process with a console" in done.stderr
    assert done.stderr.endswith("2 processes: 1 ok, 1 failed (no-such-program)\n")
    assert done.returncode == 3
    done = run(launch, "exec", "no-such-program", str(program.pid), "number", "--json")
    wrong, right = json.loads(done.stdout)
    assert "no-such-program" in wrong["error"]
    assert (right["target"], right["result"]["text/plain"]) == (str(program.pid), "0")
    assert (done.returncode, done.stderr) == (3, "")


def test_jobs_run_side_by_side(launch: Launcher) -> None:
    programs = start(launch, 2)
    # each ends when the other has begun
    code = f"""
import os, time
open({str(launch.home)!r} + "/begun%d" % number, "w").close()
while not os.path.exists({str(launch.home)!r} + "/begun%d" % (1 - number)): time.sleep(0.01)
"""
    pids = [str(p.pid) for p in programs]
    done = run(launch, "exec", *pids, "-", "--jobs", "2", input=code)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 processes: 2 ok\n"


def test_ctrl_c_interrupts_all_that_run(launch: Launcher) -> None:
    programs = start(launch, 2)
    command = subprocess.Popen(
        argv("exec", *(str(p.pid) for p in programs), "--jobs", "2", "while True: pass"),
        env=launch.environment(RTCONSOLE=None),
    )
    try:
        for program in programs:
            wait_for_status(program, "busy 1")
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
        for program in programs:
            wait_for_status(program, "idle 0")
    finally:
        command.kill()
        command.wait()


def test_a_bar_shows_on_a_terminal_when_it_takes_long(launch: Launcher) -> None:
    programs = start(launch, 2)
    go = launch.home / "go"
    code = (
        f"import os, time; print('begun')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    )
    terminal = Terminal(
        argv("exec", *(str(p.pid) for p in programs), code), launch.environment(RTCONSOLE=None)
    )
    try:
        terminal.expect(r"processes .* 0/2")
        terminal.expect(rf"^{programs[0].pid} \| begun")
        assert f"\x1b[36m{programs[0].pid} |\x1b[0m begun".encode() in terminal.raw
        go.touch()
        terminal.expect(r"^2 processes: 2 ok")
        assert terminal.wait() == 0
    finally:
        terminal.close()


CROWD = SOMEBODY + 2  # a user of whom nobody else has processes
AS_CROWD = becoming(CROWD)


@needs_users
def test_all_are_those_that_one_may_look_into(launch: Launcher) -> None:
    home = launch.home / "crowd"
    home.mkdir()
    os.chown(home, CROWD, CROWD)
    launch.home.chmod(0o755)
    env: dict[str, str | None] = {"HOME": str(home), "XDG_RUNTIME_DIR": None, "TMPDIR": str(home)}
    done = run(launch, "exec", "--all", "number", before=AS_CROWD, env=env)
    assert (done.returncode, done.stdout) == (3, "")
    assert "RTCONSOLE=1 python" in done.stderr
    script = launch.script(SLEEP)
    programs = [
        launch(python=[*AS_CROWD, sys.executable], source=script, env={**env, "NUMBER": str(n)})
        for n in range(2)
    ]
    folder = home / ".local/share/jupyter/runtime"
    for program in programs:
        wait_for((folder / f"kernel-rt-{program.pid}.json").exists, "their consoles")
    done = run(launch, "exec", "--all", "--jobs", "4", "number", before=AS_CROWD, env=env)
    assert [of(done.stdout, p) for p in programs] == [["0"], ["1"]]
    assert done.stderr == "2 processes: 2 ok\n"


# -- tail ------------------------------------------------------------------------------------


class Tail:
    """``rtconsole tail``, its output in files."""

    def __init__(self, launch: Launcher, *words: str) -> None:
        self.out, self.err = launch.home / "tail.out", launch.home / "tail.err"
        with self.out.open("w") as out, self.err.open("w") as err:
            env = launch.environment(RTCONSOLE=None)
            self.process = subprocess.Popen(argv("tail", *words), env=env, stdout=out, stderr=err)

    def expect(self, text: str, err: bool = False) -> None:
        path = self.err if err else self.out
        wait_for(lambda: text in path.read_text() or self.process.poll() is not None, repr(text))
        assert text in path.read_text(), (self.out.read_text(), self.err.read_text())

    def has_begun_for(self, speaker: "Speaker") -> bool:
        # in one piece: who comes in the middle of a line is shown its rest
        speaker.do(r"print(f'begun {sys.argv[1]}\n', end='', flush=True)")
        return f"begun {speaker.orders}\n" in self.out.read_text()

    def shown(self) -> str:
        """What it shows on standard output, from when it has begun."""
        return re.sub(r"begun .*\n", "", self.out.read_text())


@contextmanager
def tailing(launch: Launcher, *words: str) -> Iterator[Tail]:
    tail = Tail(launch, *words)
    try:
        yield tail
    finally:
        tail.process.kill()
        tail.process.wait()


class Speaker:
    def __init__(self, launch: Launcher, name: str, **env: str | None) -> None:
        self.orders = launch.home / f"{name}.orders"
        self.orders.touch()
        self.program = launch(SPEAKER, str(self.orders), env=dict(env))
        assert self.program.connection_file

    def do(self, order: str) -> None:
        with self.orders.open("a") as orders:
            orders.write(order + "\n")


def test_tail_follows_one_as_it_prints(launch: Launcher) -> None:
    speaker = Speaker(launch, "one")
    with tailing(launch, str(speaker.program.pid)) as tail:
        wait_for(lambda: tail.has_begun_for(speaker), "it to follow")
        speaker.do("print('half a line', end='', flush=True)")
        tail.expect("half a line")
        speaker.do("print(); print('an error', file=sys.stderr)")
        tail.expect("an error\n", err=True)
        speaker.do("print('the last', flush=True); sys.exit(3)")
        tail.expect("half a line\nthe last\n")
        assert tail.process.wait() == 0
        assert tail.shown() == "half a line\nthe last\n"
        tail.expect(f"({speaker.program.pid}) has ended\n", err=True)


def test_tail_begins_with_what_was_kept_and_chooses(launch: Launcher) -> None:
    speaker = Speaker(launch, "one", RTCONSOLE_HISTORY="64k")
    pid = str(speaker.program.pid)
    with tailing(launch, pid, "-n", "2") as tail:
        tail.expect("kept 3\n")
        tail.expect("kept 2\n", err=True)
        speaker.do("print('live')")
        tail.expect("live\n")
        assert tail.out.read_text() == "kept 3\nlive\n"
    with tailing(launch, pid, "-n", "9", "-s", "stdout", "-e", "3|live") as tail:
        tail.expect("kept 3\nlive\n")
        speaker.do("print('not this'); print('still alive'); print('live', file=sys.stderr)")
        tail.expect("still alive\n")
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait() == 130
        assert tail.out.read_text() == "kept 3\nlive\nstill alive\n"
        assert tail.err.read_text().strip() == ""


def test_tail_of_several_marks_their_lines(launch: Launcher) -> None:
    speakers = [Speaker(launch, name) for name in ("one", "two")]
    pids = [str(s.program.pid) for s in speakers]
    with tailing(launch, *pids) as tail:
        for speaker in speakers:
            wait_for(lambda s=speaker: tail.has_begun_for(s), "it to follow")
        for name, speaker in zip(("one", "two"), speakers, strict=True):
            speaker.do(f"print('of', '{name}'); print('err', '{name}', file=sys.stderr)")
        for name, pid in zip(("one", "two"), pids, strict=True):
            tail.expect(f"{pid} | of {name}\n")
            tail.expect(f"{pid} | err {name}\n", err=True)
        speakers[0].program.stop()
        tail.expect("has ended", err=True)
        speakers[1].do("print('goes on')")
        tail.expect(f"{pids[1]} | goes on\n")
    done = run(launch, "tail", "no-such-program")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1


def test_a_reader_of_tail_that_leaves_is_no_error(launch: Launcher) -> None:
    speaker = Speaker(launch, "one", RTCONSOLE_HISTORY="64k")
    command = " ".join([*argv("tail", "-n", "9", "-s", "stdout", str(speaker.program.pid))])
    env = launch.environment(RTCONSOLE=None)
    pipe = subprocess.Popen(
        f"{command} | head -n 1", shell=True, env=env, stdout=-1, stderr=-1, cwd=Path(launch.home)
    )
    # its second line may end it before it is seen to be there
    wait_for(lambda: status(speaker.program) == "idle 1" or pipe.poll() is not None, "tail")

    def has_ended() -> bool:
        speaker.do("print('more')")
        return pipe.poll() is not None

    wait_for(has_ended, "the pipe's end")
    out, err = pipe.communicate()
    assert (out, err) == (b"kept 1\n", b"")
