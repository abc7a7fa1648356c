"""``rtconsole-list``: which processes it shows, how, and what it clears away."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import AS_SOMEBODY, SOMEBODY, argv, complaint, may_unshare, needs_users, run
from harness import Launcher, Program, wait_for
from terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = "import time\nwhile True: time.sleep(0.1)"
FORKING = """
import os, time
for _ in range(2):
    if not os.fork():
        break
while os.getppid() != 1: time.sleep(0.1)
"""

HEADINGS = ["PID", "USER", "UPTIME", "STATE", "CLIENTS", "PYTHON", "CPU%", "MEMORY", "PROGRAM"]
KEYS = {
    *("pid", "ppid", "user", "state", "clients", "python", "argv", "cwd", "started"),
    *("cpu_percent", "rss", "transport", "connection_file"),
}


def listed(launch: Launcher, *words: str, **options: Any) -> dict[int, dict[str, Any]]:
    """Return the test's own processes as the command lists them, by pid."""
    done = run(launch, "list", "--json", "--cwd", str(launch.home), *words, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return {row["pid"]: row for row in json.loads(done.stdout)}


def ready(launch: Launcher, *arguments: Any, **options: Any) -> Program:
    """Start a program in the test's home and wait for its console."""
    program = launch(*arguments, cwd=launch.home, **options)
    assert program.connection_file
    return program


@contextmanager
def screen(launch: Launcher, *words: str, columns: int = 100, rows: int = 30) -> Iterator[Terminal]:
    terminal = Terminal(argv(*words), launch.environment(RTCONSOLE=None), columns, rows)
    try:
        yield terminal
    finally:
        terminal.close()


def test_it_tells_what_there_is_to_know_of_a_process(launch: Launcher) -> None:
    arguments = ["--name", "ä ☃", "\udcff"]
    program = ready(launch, SLEEP, *arguments, name="wörk.py")
    row = listed(launch)[program.pid]
    assert set(row) == KEYS
    process = psutil.Process(program.pid)
    assert row["ppid"] == os.getpid()
    assert row["user"] == process.username()
    assert (row["state"], row["clients"]) == ("dormant", 0)
    assert row["python"] == sys.version.partition(" ")[0]
    assert row["argv"] == [sys.executable, str(launch.home / "wörk.py"), *arguments]
    assert row["cwd"] == str(launch.home)
    assert abs(row["started"] - process.create_time()) < 2
    assert row["rss"] > 1 << 20
    assert 0 <= row["cpu_percent"] <= 100 * (os.cpu_count() or 1)
    assert row["transport"] == "ipc"
    assert row["connection_file"] == str(program.connection_file)


def test_state_and_clients_follow_and_the_dormant_stay_dormant(launch: Launcher) -> None:
    quiet, watched = ready(launch, SLEEP), ready(launch, SLEEP, name="watched.py")
    os.utime(quiet.connection_file, (1000, 2000))
    with watched.client() as client:
        request = client.send("import time\nwhile True: time.sleep(0.01)")
        wait_for(lambda: listed(launch)[watched.pid]["state"] == "busy", "busy")
        client.interrupt()
        client.finish(request)
        wait_for(lambda: listed(launch)[watched.pid]["state"] == "active", "active")
        assert listed(launch)[watched.pid]["clients"] == 1
    assert listed(launch)[quiet.pid]["state"] == "dormant"
    assert len(quiet.task_folders()) == 2
    # `jupyter console --existing` takes the file that was read last
    assert quiet.connection_file.stat().st_atime == 1000


def test_children_hang_below_their_parents(launch: Launcher) -> None:
    above = ready(launch, FORKING, name="gunicorn.py")
    try:
        rows = wait_for(lambda: len(found := listed(launch)) == 3 and found, "the children")
        children = sorted(set(rows) - {above.pid})
        assert [rows[pid]["ppid"] for pid in children] == [above.pid, above.pid]
        lines = run(launch, "list", "gunicorn", "--cwd", ".").stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["PID", str(above.pid), *map(str, children)]
        script = f"{launch.home}/gunicorn.py"
        assert [line.partition(script)[0].rstrip()[-2:] for line in lines[2:]] == ["├─", "└─"]
    finally:
        above.stop()
        wait_for(lambda: not any(map(psutil.pid_exists, children)), "the children's end")


def test_a_shell_between_parent_and_child_does_not_part_them(launch: Launcher) -> None:
    source = "import subprocess, sys\nsubprocess.run(['sh', '-c', f'{sys.executable} below.py; :'])"
    launch.script("import sys; sys.stdin.read()", "below.py")
    above = ready(launch, source, name="above.py", stdin=subprocess.PIPE)
    wait_for(lambda: len(listed(launch)) == 2, "both")
    lines = run(launch, "list", "--cwd", ".").stdout.splitlines()
    assert lines[1].endswith("/above.py")
    assert lines[2].endswith("└─ below.py")
    assert above.process.stdin is not None
    above.process.stdin.close()
    above.wait()


def test_it_shows_those_that_are_asked_for(launch: Launcher) -> None:
    one, two = ready(launch, SLEEP, "--port=1", name="One.py"), ready(launch, SLEEP, name="two.py")
    (launch.home / "below").mkdir()
    three = launch(SLEEP, name="three.py", cwd=launch.home / "below")
    assert three.connection_file
    assert set(listed(launch, "one.PY")) == {one.pid}
    assert set(listed(launch, "port=")) == {one.pid}
    user = psutil.Process(two.pid).username()
    assert set(listed(launch, "--user", user)) == {one.pid, two.pid, three.pid}
    assert listed(launch, "--user", "nobody-at-all") == {}
    assert set(listed(launch, "--cwd", "below")) == {three.pid}
    text = run(launch, "list", "nothing is called so").stdout
    assert text.startswith("none of the ")


def test_text_in_a_pipe_is_plain_and_whole(launch: Launcher) -> None:
    word = "x" * 300
    program = ready(launch, SLEEP, word, "line\nbreak", "\x1b[31mred", name="wörk.py")
    done = run(launch, "list", "--cwd", ".")
    heading, line = done.stdout.splitlines()
    assert heading.split() == HEADINGS
    assert line.split()[0] == str(program.pid)
    assert line.endswith(rf"/wörk.py {word} 'line\nbreak' \x1b[31mred".replace("'", ""))
    assert "\x1b" not in done.stdout


def test_a_terminal_gets_colours_and_lines_that_fit(launch: Launcher) -> None:
    program = ready(launch, SLEEP, "x" * 300, "雪" * 30, name="wörk.py")
    words = ["list", "wörk.py", "--cwd", str(launch.home)]
    with screen(launch, *words) as terminal:
        assert terminal.wait() == 0
        heading, line = terminal.lines[:2]
        assert heading.split()[-1] == "PROGRAM"
        assert line.endswith("x…")
        assert terminal.color_of("dormant") == "brightblack"
    for columns in (20, 40, 60):
        with screen(
            launch, "list", "wörk.py", "--cwd", str(launch.home), columns=columns
        ) as narrow:
            assert narrow.wait() == 0
            lines = [line for line in narrow.lines if line]
            assert len(lines) == 2  # none was wrapped
            assert lines[1].split()[0] == str(program.pid)
            assert lines[1].endswith("…")


def test_a_terminal_without_colours_or_unicode(launch: Launcher) -> None:
    above = ready(launch, FORKING, name="gunicorn.py")
    try:
        rows = wait_for(lambda: len(found := listed(launch)) == 3 and found, "the children")
        plain = {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
        text = run(launch, "list", "--cwd", ".", env=plain).stdout
        assert "|- " in text
        assert "`- " in text
    finally:
        above.stop()
        wait_for(lambda: not any(map(psutil.pid_exists, rows)), "the children's end")


def test_watch_refreshes_until_q_and_leaves_the_terminal_as_it_was(launch: Launcher) -> None:
    first = ready(launch, SLEEP, name="first.py")
    with screen(launch, "list", "--watch", "--cwd", str(launch.home)) as terminal:
        terminal.expect(r"first\.py")
        terminal.expect("q leaves")
        second = ready(launch, SLEEP, name="second.py")
        terminal.expect(r"second\.py")
        first.stop()
        wait_for(lambda: "first.py" not in terminal.text, "the first one's leaving the screen")
        terminal.resize(24, 10)
        fewer = rf"PID +PROGRAM\n *{second.pid} "
        terminal.expect(fewer)
        assert not terminal.is_restored()
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert b"\x1b[?1049l" in terminal.raw


@pytest.mark.parametrize("end", ["\x03", signal.SIGTERM])
def test_watch_leaves_the_terminal_as_it_was_however_it_ends(
    launch: Launcher, end: str | int
) -> None:
    with screen(launch, "list", "--watch", "--cwd", str(launch.home)) as terminal:
        terminal.expect("q leaves")
        if isinstance(end, str):
            terminal.type(end)
            assert terminal.wait() == 0
        else:
            terminal.process.send_signal(end)
            assert terminal.wait() == 128 + end
        assert terminal.is_restored()
        assert terminal.raw.count(b"\x1b[?25h") == 1


def test_watch_needs_a_terminal_and_no_json(launch: Launcher) -> None:
    done = run(launch, "list", "--watch")
    assert done.returncode == 2
    assert "needs a terminal" in complaint(done)
    done = run(launch, "list", "--watch", "--json")
    assert done.returncode == 2
    assert "--json" in complaint(done)


def test_what_a_killed_process_left_is_removed_and_nothing_else(launch: Launcher) -> None:
    lives = ready(launch, SLEEP, name="lives.py")
    runtime = lives.connection_file.parent
    foreign = [
        runtime / "kernel-12345.json",
        runtime / "kernel-rt-.json",
        runtime / "kernel-rt-4194303x.json",
        runtime / "jpserver-4194303.json",
    ]
    damaged = runtime / "kernel-rt-4194303.json"  # a pid that no process has
    elsewhere = runtime / "kernel-rt-4194302.json"
    text, info = lives.connection_file.read_text(), lives.info
    for other in foreign:
        other.write_text(text)
    damaged.write_text(text[:100])
    told = {**info, "rtconsole": {**info["rtconsole"], "pid": 4194302, "machine": "another"}}
    elsewhere.write_text(json.dumps(told))
    for _ in range(5):
        killed = ready(launch, SLEEP)
        path, ip = killed.connection_file, killed.info["ip"]
        sockets = [Path(f"{ip}-{number}") for number in range(1, 6)]
        killed.stop()
        if all(map(Path.exists, [path, *sockets])):
            break  # else a list of another test's has removed them, as it should
    else:
        pytest.fail("a killed process leaves nothing to be removed")
    assert set(listed(launch)) == {lives.pid}
    assert not path.exists()
    assert not (runtime / "external_kernels" / path.name).exists()
    assert not any(one.exists() for one in sockets)
    assert all(other.exists() for other in [*foreign, damaged, elsewhere])
    with lives.client() as client:
        assert client.value("1") == 1


def test_a_file_whose_pid_is_another_process_now_does_not_count(launch: Launcher) -> None:
    program = launch(SLEEP)
    path = program.connection_file
    info = program.info
    other = launch(SLEEP, env={"RTCONSOLE": None}, name="other.py")
    reused = path.with_name(f"kernel-rt-{other.pid}.json")
    told = {**info["rtconsole"], "pid": other.pid, "create_time": 1e9}
    info.update(ip="/nowhere/rtconsole/1", key="another", rtconsole=told)
    reused.write_text(json.dumps(info))
    assert other.pid not in listed(launch, "--cwd", "/")
    assert not reused.exists()
    assert other.is_running()


def test_a_process_that_became_another_program_has_no_console(launch: Launcher) -> None:
    source = "import os, sys; sys.stdin.read(); os.execvp('sleep', ['sleep', '1000'])"
    program = ready(launch, source, stdin=subprocess.PIPE)
    assert program.pid in listed(launch)
    assert program.process.stdin is not None
    program.process.stdin.close()
    wait_for(lambda: psutil.Process(program.pid).name() == "sleep", "exec")
    assert program.pid not in listed(launch)
    done = run(launch, "doctor", str(program.pid))
    assert "does not look like a Python program" in done.stdout


def test_a_clock_that_was_set_does_not_cost_a_process_its_console(launch: Launcher) -> None:
    program = ready(launch, SLEEP)
    path, info = program.connection_file, program.info
    info["rtconsole"]["create_time"] += 3600
    path.write_text(json.dumps(info))
    assert program.pid in listed(launch)
    assert path.exists()


def test_a_process_with_folders_of_its_own_is_found(launch: Launcher) -> None:
    folders: list[dict[str, str | None]] = [
        {"HOME": str(launch.home / "second"), "XDG_RUNTIME_DIR": None},
        {"JUPYTER_RUNTIME_DIR": str(launch.home / "third")},
        {"JUPYTER_RUNTIME_DIR": "fourth"},
        {"JUPYTER_DATA_DIR": str(launch.home / "fifth")},
        {"XDG_DATA_HOME": str(launch.home / "sixth")},
        {"JUPYTER_RUNTIME_DIR": "/proc/nowhere", "TMPDIR": str(launch.home)},
        {"RTCONSOLE_TRANSPORT": "tcp"},
    ]
    programs = [launch(SLEEP, env=env, cwd=launch.home) for env in folders]
    for program in programs:
        wait_for(lambda p=program: "console at" in p.log and f"pid {p.pid}:" in p.log, "start")
    rows = wait_for(lambda: len(found := listed(launch)) == len(programs) and found, "all")
    assert set(rows) == {program.pid for program in programs}
    assert {row["transport"] for row in rows.values()} == {"ipc", "tcp"}


@needs_users
def test_root_sees_all_users_and_others_only_their_own(launch: Launcher) -> None:
    ours = ready(launch, SLEEP, name="ours.py")
    home = launch.home / "somebody"
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)
    launch.home.chmod(0o755)
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": None, "TMPDIR": str(home)}
    script = launch.script(SLEEP, "theirs.py")
    theirs = launch(python=[*AS_SOMEBODY, sys.executable], source=script, env=env, cwd=launch.home)
    path = home / ".local/share/jupyter/runtime" / f"kernel-rt-{theirs.pid}.json"
    wait_for(path.exists, "their console")
    rows = listed(launch)
    assert set(rows) == {ours.pid, theirs.pid}
    assert rows[theirs.pid]["user"] == psutil.Process(theirs.pid).username()
    seen = listed(launch, before=AS_SOMEBODY, env=env)
    assert set(seen) == {theirs.pid}
    theirs.stop()
    run(launch, "list")
    assert path.exists()  # root clears away its own only
    done = run(launch, "list", before=AS_SOMEBODY, env=env)
    assert not path.exists()
    assert done.returncode == 0
    assert "RTCONSOLE=1 python" in done.stdout
    assert done.stdout.count("\n") == 1
    assert run(launch, "list", "--json", before=AS_SOMEBODY, env=env).stdout == "[]\n"


@needs_users
def test_a_file_that_another_user_planted_for_a_process_does_not_count(launch: Launcher) -> None:
    program = ready(launch, SLEEP)
    path = program.connection_file
    os.chown(path, SOMEBODY, SOMEBODY)
    assert listed(launch) == {}
    assert path.exists()


@needs_users
@pytest.mark.skipif(not may_unshare("--mount"), reason="no namespaces of our own here")
def test_a_process_in_a_container_is_seen_with_our_pid_and_can_be_reached(launch: Launcher) -> None:
    inside = "mount -t tmpfs none {home}/own && exec {python} {script}"
    (launch.home / "own").mkdir()
    script = launch.script(SLEEP)
    home = launch.home / "own/home"
    line = inside.format(home=launch.home, python=sys.executable, script=script)
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": None, "TMPDIR": str(launch.home / "own")}
    program = launch(
        python=["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", line],
        env=env,
        cwd=launch.home,
    )
    (row,) = wait_for(lambda: list(listed(launch).values()), "the process in the container")
    assert row["ppid"] == program.pid
    assert json.loads(Path(row["connection_file"]).read_text())["rtconsole"]["pid"] == 1
    done = run(launch, "exec", str(row["pid"]), "__import__('os').getpid()")
    assert (done.stdout, done.returncode) == ("1\n", 0), done


def test_it_starts_without_what_it_does_not_need(launch: Launcher) -> None:
    code = (
        "import sys; from rtconsole.cli.main import list_main\n"
        "sys.argv = ['rtconsole-list']\n"
        "try: list_main()\n"
        "except SystemExit: pass\n"
        "unwanted = {'zmq', 'ipykernel', 'IPython', 'jupyter_client', 'prompt_toolkit'}\n"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    done = launch("", python=[sys.executable, "-c", code], env={"RTCONSOLE": None})
    assert done.wait() == 0, done.describe()
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_has_a_script_of_its_own_and_a_name_for_python_m(launch: Launcher) -> None:
    program = ready(launch, SLEEP)
    script = Path(sys.executable).with_name("rtconsole-list")
    for words in ([script], [script.with_name("rtconsole"), "list"], argv("list")):
        done = subprocess.run(
            [*map(str, words), "--cwd", str(launch.home)],
            env=launch.environment(),  # with RTCONSOLE=1, and no console in the command itself
            capture_output=True,
            text=True,
            check=True,
        )
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["PID", str(program.pid)]


def test_a_reader_that_leaves_is_no_error(launch: Launcher) -> None:
    ready(launch, SLEEP)
    shell = " ".join([*argv("list"), "| :; echo done"])
    done = subprocess.run(
        ["sh", "-c", shell], env=launch.environment(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
