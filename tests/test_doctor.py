"""``rtconsole doctor``: whether there is a console, and every reason for there being none."""

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from commands import (
    AS_SOMEBODY,
    SOMEBODY,
    complaint,
    needs_users,
    run,
    wait_for_status,
)
from harness import PATIENCE, Launcher, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = "import time\nwhile True: time.sleep(0.1)"
ON: dict[str, str | None] = {"RTCONSOLE": "1"}


def findings(done: "subprocess.CompletedProcess[str]") -> tuple[list[str], list[str]]:
    """Return what is good and what is bad; the exit code says whether there is any bad."""
    assert done.stderr == "", done
    lines = done.stdout.splitlines()
    good, bad = ([line[2:] for line in lines if line.startswith(mark)] for mark in ("+ ", "! "))
    assert done.returncode == bool(bad), done
    assert good or bad
    return good, bad


def doctor(launch: Launcher, *options: str, env: dict[str, str | None]) -> list[str]:
    """Run it with the interpreter's options; return what is bad."""
    done = subprocess.run(
        [sys.executable, *options, "-m", "rtconsole", "doctor"],
        env=launch.environment(**{"RTCONSOLE": None, "RTCONSOLE_DEBUG": None, **env}),
        cwd=launch.home,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    return findings(done)[1]


def test_all_is_well_here(launch: Launcher) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtconsole", "doctor"],
        env=launch.environment(TMPDIR=None),
        cwd=launch.home,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    good, bad = findings(done)
    assert bad == []
    told = "\n".join(good)
    assert "rtconsole.pth" in told
    assert f"sockets in {launch.sockets}/rtconsole" in told
    assert f"connection files in {launch.home}/.local/share/jupyter/runtime" in told
    assert "ipykernel 7." in told
    assert good[-1] == "started once with RTCONSOLE=1, it had a console"


def test_the_variable(launch: Launcher) -> None:
    for value, reason in {None: "is not set", "off": "switches it off", "maybe": "neither"}.items():
        (bad,) = doctor(launch, env={"RTCONSOLE": value})
        assert reason in bad


def test_the_interpreters_options(launch: Launcher) -> None:
    first, *_, last = doctor(launch, "-I", env=ON)
    assert "-I or -E" in first
    assert "had no console" in last
    # without site-packages the package itself has to be found in another way
    path = os.pathsep.join(entry for entry in sys.path if entry)
    first, *_, last = doctor(launch, "-S", env={**ON, "PYTHONPATH": path})
    assert "started with -S" in first
    assert "had no console" in last


def test_folders_that_cannot_be_used(launch: Launcher) -> None:
    taken = launch.script("a file", "taken")
    (bad,) = doctor(launch, env={**ON, "JUPYTER_RUNTIME_DIR": str(taken)})
    assert "is a link or a file, not a folder" in bad
    assert f"connection files in {os.environ.get('TMPDIR', '/tmp')}/rtconsole-" in bad
    shared = launch.home / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (bad,) = doctor(launch, env={**ON, "JUPYTER_RUNTIME_DIR": str(shared)})
    assert "is open to other users" in bad
    planted = launch.home / f"rtconsole-{os.geteuid()}"
    planted.write_text("")
    bads = doctor(launch, env={**ON, "XDG_RUNTIME_DIR": None, "TMPDIR": str(launch.home)})
    assert "no folder for Unix sockets" in bads[0]
    assert "had no console" in bads[-1]


def test_a_socket_path_that_is_too_long_is_gone_round(launch: Launcher) -> None:
    long = launch.home / ("x" * 120)
    long.mkdir(mode=0o700)
    done = run(launch, "doctor", env={"XDG_RUNTIME_DIR": str(long), "TMPDIR": None})
    assert "XDG_RUNTIME_DIR=" in done.stdout
    assert "longer than" in done.stdout


def test_transport(launch: Launcher) -> None:
    done = run(launch, "doctor", env={"RTCONSOLE_TRANSPORT": "tcp"})
    assert "+ transport tcp, encrypted" in done.stdout
    (bad,) = doctor(launch, env={**ON, "RTCONSOLE_TRANSPORT": "pigeon"})
    assert "RTCONSOLE_TRANSPORT='pigeon' is none of ipc, tcp" in bad


def test_ipykernel_that_is_broken(launch: Launcher) -> None:
    launch.script("raise ImportError('torn in two')", "broken/ipykernel.py")
    bads = doctor(launch, env={**ON, "PYTHONPATH": str(launch.home / "broken")})
    assert bads == ["ipykernel cannot be imported: ImportError: torn in two"]


def test_an_interpreter_without_the_hook(launch: Launcher) -> None:
    folder = launch.home / "bare"
    venv.create(folder, with_pip=False)
    # its packages are ours, found as a plain folder, in which start-up files are not read
    path = os.pathsep.join(entry for entry in sys.path if entry)
    env = launch.environment(PYTHONPATH=path, RTCONSOLE_DEBUG=None)
    done = subprocess.run(
        [str(folder / "bin/python"), "-m", "rtconsole", "doctor"],
        env=env,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    bads = findings(done)[1]
    assert bads[0].startswith("the start-up hook is not installed here")
    assert bads[-1].endswith("the start-up hook did not run")


# -- a process -------------------------------------------------------------------------------


def of(launch: Launcher, pid: int, **options: str) -> tuple[str, str]:
    good, bad = findings(run(launch, "doctor", str(pid), **options))
    return "\n".join(good), "\n".join(bad)


def test_a_process_with_a_console(launch: Launcher) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    good, bad = of(launch, program.pid)
    assert (bad, "dormant, 0 clients attached" in good) == ("", True)
    wait_for_status(program, "dormant 0")
    with program.client():
        wait_for_status(program, "idle 1")
        good, bad = of(launch, program.pid)
        assert (bad, "active, 1 client attached" in good) == ("", True)
        assert "it answers (in " in good
        program.signal(signal.SIGSTOP)
        _, bad = of(launch, program.pid)
        assert f"kill -CONT {program.pid}" in bad
        program.signal(signal.SIGCONT)


def test_a_process_that_holds_the_interpreter(launch: Launcher) -> None:
    # a regular expression that takes for ever, in one call of C
    flag = launch.home / "flag"
    source = """
    import os, re, sys, time
    while not os.path.exists(sys.argv[1]): time.sleep(0.01)
    print("now", flush=True)
    re.match("(a*)*b", "a" * 100)
    """
    program = launch(source, str(flag))
    with program.client():
        flag.touch()
        program.wait_for_output("now")
        done = run(launch, "doctor", str(program.pid), "--timeout", "1")
        assert "did not answer within 1 s" in findings(done)[1][0]


def test_a_process_whose_sockets_somebody_removed(launch: Launcher) -> None:
    program = launch(SLEEP)
    for path in Path(program.info["ip"]).parent.iterdir():
        path.unlink()
    assert "its sockets are gone" in of(launch, program.pid)[1]


def test_why_a_process_has_none(launch: Launcher) -> None:
    reasons: dict[str, tuple[list[str], dict[str, str | None]]] = {
        "RTCONSOLE is not set": ([], {"RTCONSOLE": None}),
        "RTCONSOLE=0 switches it off": ([], {"RTCONSOLE": "0"}),
        "started with -S": (["-bS"], {}),
        "started with -I or -E": (["-X", "dev", "-E"], {}),
    }
    for reason, (options, env) in reasons.items():
        program = launch(SLEEP, python=[sys.executable, *options], env=env)
        wait_for(lambda p=program: len(Path(f"/proc/{p.pid}/maps").read_text()) > 0, "exec")
        wait_for(
            lambda p=program: b"program.py" in Path(f"/proc/{p.pid}/cmdline").read_bytes(), "exec"
        )
        good, bad = of(launch, program.pid)
        assert bad.splitlines()[0] == "it has no console"
        assert reason in bad
        assert "rtconsole.pth" in good
    skipped = launch(SLEEP, env={"RTCONSOLE_SKIP": "program"})
    wait_for(lambda: f"pid {skipped.pid}: " in skipped.log, "a note")
    done = run(launch, "doctor", str(skipped.pid))
    assert "RTCONSOLE_SKIP leaves alone these: program" in done.stdout
    assert "its debug log: " in done.stdout
    assert "RTCONSOLE_SKIP names it" in done.stdout


@pytest.mark.parametrize("where", ["lib/python3", "local/lib/python3.11"])
def test_the_hook_is_found_where_debian_has_it(launch: Launcher, where: str) -> None:
    prefix = launch.home / "usr"
    packages = prefix / where / "dist-packages"
    for folder in (prefix / "bin", packages):
        folder.mkdir(parents=True)
    (prefix / "bin/python3").symlink_to(sys.executable)
    python = [str(prefix / "bin/python3"), "-c", "print('on', flush=True); input()"]
    options = {"python": python, "stdin": subprocess.PIPE, "env": {"RTCONSOLE": None}}
    program = launch(None, **options)  # type: ignore[arg-type]
    program.wait_for_output("on")
    assert "no start-up hook was found" in of(launch, program.pid)[1]
    (packages / "rtconsole.pth").touch()
    (packages / "rtconsole.start").touch()
    assert f"installed there: {packages}/rtconsole." in of(launch, program.pid)[0]


def test_a_process_that_is_no_python_program_or_nobody(launch: Launcher) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    try:
        done = run(launch, "doctor", str(other.pid))
        assert "does not look like a Python program" in done.stdout
        assert done.returncode == 1
    finally:
        other.kill()
        other.wait()
    done = run(launch, "doctor", "999999999")
    assert (done.returncode, complaint(done)) == (3, "there is no process 999999999")


@needs_users
def test_another_users_process(launch: Launcher) -> None:
    program = launch(SLEEP)
    home = launch.home / "somebody"
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)
    done = run(launch, "doctor", str(program.pid), before=AS_SOMEBODY, env={"HOME": str(home)})
    assert "only they and root can look into it" in "\n".join(findings(done)[1])
