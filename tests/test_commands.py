"""``rtconsole exec``, ``interrupt``, ``stack``, ``run``, and what all commands have in common."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest
from commands import (
    AS_SOMEBODY,
    SOMEBODY,
    argv,
    complaint,
    needs_users,
    run,
    wait_for_status,
)
from harness import Launcher, Program, wait_for

from rtconsole import __version__

SLEEP = "import time\nwhile True: time.sleep(0.1)"
COMMANDS = ("list", "attach", "exec", "interrupt", "stack", "run", "doctor", "lab")
has_lab = importlib.util.find_spec("jupyterlab") is not None
TARGETED = ("exec", "interrupt", "stack")


def words_of(command: str, target: str) -> list[str]:
    return [command, target, "1"] if command == "exec" else [command, target]


# -- exec ------------------------------------------------------------------------------------


def test_exec_prints_what_comes_of_the_code_where_it_belongs(launch: Launcher) -> None:
    program = launch("answer = 42\n" + SLEEP, name="wörk.py")
    assert program.connection_file
    for target in (str(program.pid), str(program.connection_file)):
        done = run(launch, "exec", target, "answer")
        assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    code = "import sys; print('out'); print('err', file=sys.stderr); answer + 1"
    done = run(launch, "exec", str(program.pid), "-", input=code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n43\n", "err\n")
    file = launch.script("answer = 'ä'")
    assert run(launch, "exec", program.pid, "-f", file).stdout == ""
    assert run(launch, "exec", program.pid, "answer").stdout == "'ä'\n"
    assert program.stdout == ""


def test_exec_of_code_that_raises_prints_the_traceback_and_exits_with_1(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    done = run(launch, "exec", str(program.pid), "print('before')\n1/0")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "\x1b" not in done.stderr
    done = run(launch, "exec", str(program.pid), "print('before')\n1/0", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert (told["stdout"], told["reply"]["ename"]) == ("before\n", "ZeroDivisionError")
    done = run(launch, "exec", str(program.pid), "6 * 7", "--json")
    assert json.loads(done.stdout)["result"]["text/plain"] == "42"


def test_exec_gives_up_in_time_and_interrupt_ends_what_still_runs(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    code = "import time\nwhile True: time.sleep(0.01)"
    done = run(launch, "exec", str(program.pid), code, "--timeout", "8")
    assert done.returncode == 4
    assert f"rtconsole interrupt {program.pid}" in complaint(done)
    wait_for_status(program, "busy 0")
    done = run(launch, "interrupt", str(program.pid))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"interrupted {program.pid} (")
    wait_for_status(program, "idle 0")


def test_interrupt_ends_another_clients_cell_and_leaves_the_program(
    counter: Program, launch: Launcher
) -> None:
    with counter.client() as client:
        request = client.send("while True: pass")
        wait_for_status(counter, "busy 1")
        assert run(launch, "interrupt", str(counter.pid)).returncode == 0
        assert client.finish(request).error == "KeyboardInterrupt"
        done = run(launch, "interrupt", str(counter.pid))
        assert (done.returncode, done.stdout[:14]) == (0, "no cell runs i")
        assert client.value("1") == 1
    assert counter.is_running()


def test_interrupt_leaves_a_dormant_process_dormant(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    assert "no cell runs" in run(launch, "interrupt", str(program.pid)).stdout
    wait_for_status(program, "dormant 0")


def test_ctrl_c_on_exec_interrupts_the_cell(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    code = "import time\nwhile True: time.sleep(0.01)"
    command = subprocess.Popen(
        argv("exec", str(program.pid), code), env=launch.environment(RTCONSOLE=None)
    )
    try:
        wait_for_status(program, "busy 1")
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
        wait_for_status(program, "idle 0")
    finally:
        command.kill()
        command.wait()


# -- stack -----------------------------------------------------------------------------------

STUCK = {
    "asleep": ("time.sleep(1000)", "time.sleep(1000)"),
    "in a deadlock": ("lock = threading.Lock(); lock.acquire(); lock.acquire()", "lock.acquire()"),
    "in C": ("os.read(os.pipe()[0], 1)", "os.read("),
    "computing": ("while True: pass", "while True"),
}


@pytest.mark.parametrize("how", STUCK)
def test_stack_tells_what_all_threads_do(launch: Launcher, how: str) -> None:
    source, line = STUCK[how]
    program = launch(
        f"""
        import os, threading, time

        def wait_in_thread():
            threading.Event().wait()

        threading.Thread(target=wait_in_thread, name="wörker", daemon=True).start()

        def block():
            {source}

        print("there", flush=True)
        block()
        """
    )
    program.wait_for_output("there")
    done = run(launch, "stack", str(program.pid))
    assert (done.returncode, done.stderr) == (0, ""), done
    blocks = done.stdout.split("\n\n")
    assert blocks[0].startswith("Thread MainThread (main)\n"), done.stdout
    assert "in block\n" in blocks[0]
    assert f"    {source}" in blocks[0]
    assert line in source
    (worker,) = [block for block in blocks if block.startswith("Thread wörker (daemon)\n")]
    assert "in wait_in_thread\n    threading.Event().wait()" in worker
    assert "threads of the console's own (--all)" in blocks[-1]
    assert program.is_running()


def test_stack_tells_which_thread_runs_a_cell_that_hangs(launch: Launcher) -> None:
    program = launch(SLEEP)
    with program.client() as client:
        client.run("import threading\nlock = threading.Lock(); lock.acquire()")
        client.send("def hang():\n    lock.acquire()\nhang()")
        wait_for_status(program, "busy 1")

        def hanging() -> list[str]:
            blocks = run(launch, "stack", str(program.pid)).stdout.split("\n\n")
            return [block for block in blocks if "in hang\n    lock.acquire()" in block]

        (cell,) = wait_for(hanging, "the cell's stack")
        assert "(daemon, console, runs a cell)" in cell.splitlines()[0]
        threads = json.loads(run(launch, "stack", str(program.pid), "--json").stdout)
        assert {thread["console"] for thread in threads} == {True, False}
        (main,) = [thread for thread in threads if thread["main"]]
        assert main["stack"][0]["function"] == "<module>"
        assert main["stack"][0]["line"] == 2
        everything = run(launch, "stack", str(program.pid), "--all").stdout
        assert sum(line.startswith("Thread ") for line in everything.splitlines()) == len(threads)
        done = run(launch, "exec", str(program.pid), "--timeout", "1", "1")
        assert done.returncode == 4  # behind the cell that hangs


def test_stack_of_a_program_leaves_its_linecache_alone(launch: Launcher) -> None:
    program = launch("import linecache\n" + SLEEP)
    with program.client() as client:
        threads = client.control("stack_request")["threads"]
        assert threads[0]["stack"][0]["source"].startswith("while True")
        after = client.value(f"[name for name in linecache.cache if {program.home.name!r} in name]")
        assert after == []


# -- run -------------------------------------------------------------------------------------

TELL = (
    "import os, sys; import rtconsole.listener as l; print(l.current is not None,"
    " os.environ.get('RTCONSOLE_EAGER'), os.environ.get('RTCONSOLE_HISTORY'),"
    " 'sitehook' in os.environ.get('PYTHONPATH', ''),"
    " sys.argv[1:])"
)


def test_run_starts_a_command_with_a_console_in_it(launch: Launcher) -> None:
    script = launch.script(TELL)
    env: dict[str, str | None] = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = run(launch, "run", "--", "python", script, "--eager", "-x", "--", "a b", env=env)
    assert done.stdout == "True None None False ['--eager', '-x', '--', 'a b']\n", done
    done = run(launch, "run", "--eager", "--history", "64k", sys.executable, script, "1")
    assert done.stdout == "True 1 64k False ['1']\n", done
    done = run(launch, "run", script, "2")  # no executable file
    assert done.stdout == "True None None False ['2']\n", done
    done = run(launch, "run", "--", sys.executable, "-c", "import sys; sys.exit(7)")
    assert done.returncode == 7


def test_run_does_without_the_hook_where_an_interpreter_lacks_it(launch: Launcher) -> None:
    folder = launch.home / "bare"
    venv.create(folder, with_pip=False)
    script = launch.script(TELL + "\nprint(sys.prefix)")
    done = run(launch, "run", "--", folder / "bin/python", script, env={"PYTHONPATH": "/mine"})
    assert done.stdout == f"True None None True []\n{folder}\n", done
    code = "import os; print(os.environ['PYTHONPATH'].split(':')[-1])"
    done = run(launch, "run", "--", folder / "bin/python", "-c", code, env={"PYTHONPATH": "/mine"})
    assert done.stdout == "/mine\n"


def test_run_of_what_is_not_there_is_127_as_in_a_shell(launch: Launcher) -> None:
    done = run(launch, "run", "--", "no-such-command")
    assert (done.returncode, complaint(done)) == (127, "there is no command 'no-such-command'")
    assert run(launch, "run").returncode == 2


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", TARGETED)
def test_a_target_that_is_nothing_costs_one_line_and_exit_code_3(
    launch: Launcher, command: str
) -> None:
    program = launch(SLEEP, name="lives.py")
    path = program.connection_file
    info = program.info
    bare = launch(SLEEP, env={"RTCONSOLE": None}, name="bare.py")
    damaged, foreign, stale = (launch.home / f"{n}.json" for n in ("damaged", "foreign", "stale"))
    damaged.write_text(path.read_text()[:100])
    foreign.write_text(json.dumps({k: v for k, v in info.items() if k != "rtconsole"}))
    told = {**info["rtconsole"], "create_time": 1e9}
    ip = f"{launch.home}/rtconsole/{program.pid}"
    stale.write_text(json.dumps({**info, "ip": ip, "key": "old", "rtconsole": told}))
    pipe = launch.home / "pipe.json"
    os.mkfifo(pipe)
    for target, words in {
        "999999999": "there is no process 999999999",
        "99999999999999999999": "there is no process",
        str(bare.pid): f"has no console; `rtconsole doctor {bare.pid}` says why",
        "no-such-näme": "no process with a console is called 'no-such-näme'",
        "\x1b[31m": r"is called '\x1b[31m'",
        str(damaged): "a damaged one",
        str(foreign): "jupyter console --existing",
        str(stale): "was left by a process that ended",
        str(pipe): "is no connection file",
        str(launch.home): "is no connection file",
        "/nowhere/kernel-rt-1.json": "there is no file",
        "kernel-rt-1.json": "there is no file",
    }.items():
        done = run(launch, *words_of(command, target))
        assert done.returncode == 3, done
        assert words in complaint(done), done
    wait_for_status(program, "dormant 0")


def test_a_name_finds_its_process_and_several_are_listed(launch: Launcher) -> None:
    name = f"wörk{os.getpid()}"
    one = launch(SLEEP, "--first", name=f"{name}.py")
    two = launch(SLEEP, "--second", name=f"{name}.py")
    other = launch(SLEEP, name=f"{name}er.py")
    assert all(program.connection_file for program in (one, two, other))
    assert run(launch, "exec", f"{name}er", "__name__").stdout == "'__main__'\n"
    done = run(launch, "exec", f"{name}.py", "1")
    assert done.returncode == 3
    first, *lines = done.stderr.splitlines()
    assert first == f"rtconsole: '{name}.py' matches 2 processes:"
    assert sorted(int(line.split()[0]) for line in lines) == sorted([one.pid, two.pid])
    assert run(launch, "exec", "--", f"{name}.py --second", "__name__").returncode == 0


@needs_users
@pytest.mark.parametrize("command", TARGETED)
def test_another_users_process_is_not_ours_to_look_into(launch: Launcher, command: str) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    home = launch.home / "somebody"
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)
    env: dict[str, str | None] = {"HOME": str(home), "XDG_RUNTIME_DIR": None}
    done = run(launch, *words_of(command, str(program.pid)), before=AS_SOMEBODY, env=env)
    assert done.returncode == 3
    assert "only they and root can attach" in complaint(done)


@pytest.mark.parametrize("command", TARGETED)
def test_a_stopped_process_does_not_answer_and_recovers(launch: Launcher, command: str) -> None:
    program = launch(SLEEP)
    with program.client():
        program.signal(signal.SIGSTOP)
        done = run(launch, *words_of(command, str(program.pid)), "--timeout", "1")
        assert done.returncode == 4
        assert "does not answer" in complaint(done)
        program.signal(signal.SIGCONT)
        assert run(launch, *words_of(command, str(program.pid))).returncode == 0


def test_a_process_that_dies_meanwhile_is_exit_code_5(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    done = run(launch, "exec", str(program.pid), "import os; os._exit(0)")
    assert done.returncode == 5
    assert str(program.pid) in complaint(done)


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["list", "--no-such-option"],
        ["list", "one", "two"],
        ["exec", "1"],
        ["exec", "--all", "1", "code"],
        ["exec", "code"],
        ["exec", "1", "code", "--jobs", "0"],
        ["tail"],
        ["tail", "1", "-e", "("],
        ["exec", "1", "code", "--timeout", "soon"],
        ["stack"],
        ["interrupt"],
        ["doctor", "name"],
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(launch: Launcher, words: list[str]) -> None:
    done = run(launch, *words)
    assert done.returncode == 2
    assert complaint(done)


# -- help ------------------------------------------------------------------------------------


def test_help_fits_a_screen_and_has_an_example(launch: Launcher) -> None:
    for words in ([], *([command] for command in COMMANDS)):
        done = run(launch, *words, "--help")
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, ""), done
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        assert "  Example:" in lines, done.stdout
    overview = run(launch).stderr + run(launch).stdout
    assert all(f"  {command} " in overview for command in COMMANDS)
    assert run(launch, "--version").stdout == f"rtconsole, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for(launch: Launcher, shell: str) -> None:
    script = str(Path(sys.executable).with_name("rtconsole"))
    env = launch.environment(_RTCONSOLE_COMPLETE=f"{shell}_source", RTCONSOLE=None)
    source = subprocess.run([script], env=env, capture_output=True, text=True, check=True).stdout
    assert f"_RTCONSOLE_COMPLETE={shell}_complete" in source
    asked = {
        "COMP_WORDS": "rtconsole in",
        "COMP_CWORD": "in" if shell == "fish" else "1",
        "_RTCONSOLE_COMPLETE": f"{shell}_complete",
    }
    env = launch.environment(**asked, RTCONSOLE=None)
    done = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
    assert "interrupt" in done.stdout


@pytest.mark.skipif(has_lab, reason="JupyterLab is here")
def test_lab_that_is_not_installed_says_how_to_install_it(launch: Launcher) -> None:
    done = run(launch, "lab")
    assert done.returncode == 127
    assert "pip install jupyterlab" in complaint(done)


def test_lab_first_removes_what_dead_processes_left(launch: Launcher) -> None:
    live = launch(SLEEP)
    for _ in range(5):
        dead = launch(SLEEP)
        left = [dead.connection_file, live.connection_file]
        left += [file.parent / "external_kernels" / file.name for file in left]
        dead.stop()
        if all(map(os.path.lexists, left)):
            break  # else a list of another test's has removed them, as it should
    else:
        pytest.fail("a dead process leaves nothing to be removed")
    launch.script("", "jupyterlab/__init__.py")
    launch.script("import sys; print(sys.argv[1:])", "jupyterlab/__main__.py")
    done = run(launch, "lab", "--port=8899", env={"PYTHONPATH": str(launch.home)})
    assert done.stdout == "['--ServerApp.allow_external_kernels=True', '--port=8899']\n", done
    assert list(map(os.path.lexists, left)) == [False, True, False, True]


@pytest.mark.skipif(not has_lab, reason="no JupyterLab here")
def test_lab_lists_the_live_processes_and_wakes_none(launch: Launcher) -> None:
    program = launch(SLEEP, name="wörk.py")
    assert program.connection_file
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--IdentityProvider.token=x"]
    server = launch(python=[*argv("lab"), *options], env={"RTCONSOLE": None}, cwd=launch.home)
    found = wait_for(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/lab", server.stderr), "a server")
    url = f"http://127.0.0.1:{found[1]}/api/kernels?token=x"

    def kernels() -> list[str]:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return [kernel["name"] for kernel in json.load(answer)]

    wait_for(lambda: f"wörk.py ({program.pid})" in kernels(), "the process among the kernels")
    wait_for_status(program, "dormant 0")
    assert len(program.task_folders()) == 2
    server.signal(signal.SIGTERM)
    server.wait()
    assert program.is_running()
