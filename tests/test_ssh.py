"""Processes on another machine, over the user's own ssh."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import argv, complaint, run
from harness import Client, Launcher, wait_for

from rtconsole import ssh

asyncssh = pytest.importorskip("asyncssh")

SSH = shutil.which("ssh")
SLEEP = "import time\nwhile True: time.sleep(0.1)"

pytestmark = pytest.mark.skipif(not SSH, reason="no OpenSSH here")


@pytest.fixture
def machine(launch: Launcher) -> Iterator[dict[str, str | None]]:
    """A machine that is called ``far``: the changes to the environment that lead to it."""
    key = launch.home / "host_key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    read, write = os.pipe()
    server = launch(
        Path(__file__).with_name("ssh_server.py"), str(key), env={"RTCONSOLE": None}, stdin=read
    )
    os.close(read)
    server.wait_for_output("\n")
    config = launch.home / "ssh_config"
    config.write_text(
        f"Host far\n  HostName 127.0.0.1\n  Port {server.stdout.strip()}\n"
        f"  UserKnownHostsFile {launch.home}/known\n  StrictHostKeyChecking no\n"
    )
    bin_folder = launch.home / "bin"
    bin_folder.mkdir()
    wrapper = bin_folder / "ssh"  # OpenSSH looks for its configuration in the real home folder
    wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {config} "$@"\n')
    wrapper.chmod(0o755)
    yield {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "RTCONSOLE_REMOTE": " ".join(argv()),
    }
    os.close(write)


def test_a_list_of_another_machines_processes(
    launch: Launcher, machine: dict[str, str | None]
) -> None:
    program = launch(SLEEP, cwd=launch.home)
    assert program.connection_file
    words = ["list", "me@far", "--cwd", str(launch.home), "--json"]
    done = run(launch, *words, env=machine)
    assert done.returncode == 0, done
    assert [row["pid"] for row in json.loads(done.stdout)] == [program.pid]
    text = run(launch, *words[:-1], env=machine).stdout
    assert text.splitlines()[1].split()[0] == str(program.pid)


def test_a_cell_in_another_machines_process(
    launch: Launcher, machine: dict[str, str | None]
) -> None:
    program = launch("answer = 42\n" + SLEEP)
    assert program.connection_file
    done = run(launch, "exec", f"me@far:{program.pid}", "answer", env=machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert not list(launch.sockets.glob("rtconsole/ssh-*"))


def test_the_sockets_are_the_users_alone_and_go_in_the_end(
    launch: Launcher, machine: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = launch(SLEEP)
    assert program.connection_file
    for name, value in launch.environment(RTCONSOLE=None, **machine).items():
        monkeypatch.setenv(name, value)
    with ssh.forward(f"me@far:{program.pid}") as info:
        folder = Path(info["ip"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert info["rtconsole"]["host"] == "me@far"
        assert info["rtconsole"]["pid"] == program.pid
        assert info["key"] == program.info["key"]
        file = launch.home / "forwarded.json"
        file.write_text(json.dumps(info))
        client = Client(file)
        assert client.ready().value("6 * 7") == 42
        client.close()
    assert not folder.exists()
    mine = str(folder)
    wait_for(lambda: not any(mine in word for word in command_lines()), "the end of ssh")


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        yield " ".join(process.info["cmdline"] or [])


def test_what_is_wrong_over_there_is_said_here(
    launch: Launcher, machine: dict[str, str | None]
) -> None:
    done = run(launch, "exec", "me@far:999999999", "1", env=machine)
    assert (done.returncode, complaint(done)) == (3, "me@far: there is no process 999999999")
    done = run(launch, "list", "me@far", env={**machine, "RTCONSOLE_REMOTE": "no-such-command"})
    assert done.returncode == 6
    assert "there is no rtconsole on me@far" in complaint(done)
    done = run(launch, "list", "me@far", env={**machine, "RTCONSOLE_REMOTE": "echo"})
    assert done.returncode == 6
    assert "no JSON" in complaint(done)
    done = run(launch, "list", "me@nowhere.invalid", env=machine)
    assert done.returncode == 6
    assert "me@nowhere.invalid: " in complaint(done)
    done = run(launch, "exec", "-oProxyCommand=x@:1", "1", env=machine)
    assert done.returncode == 2


def test_ssh_that_is_not_there_is_said_in_one_line(launch: Launcher) -> None:
    env: dict[str, str | None] = {"PATH": str(launch.home)}
    done = subprocess.run(
        argv("list", "me@far"),
        env=launch.environment(RTCONSOLE=None, **env),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 6
    assert "ssh cannot be started" in complaint(done)


@pytest.mark.parametrize(
    ("target", "host", "process"),
    [
        ("me@far", True, False),
        ("far:", True, False),
        ("far:42", False, True),
        ("me@far:42", True, True),
        ("work.py", False, False),
        ("/tmp/a:b.json", False, False),
        ("python -m a:b", False, False),
        ("42", False, False),
    ],
)
def test_what_is_taken_for_another_machine(target: str, host: bool, process: bool) -> None:
    assert ssh.is_host(target) is host
    assert ssh.is_remote(target) is process
