"""RTCONSOLE_AUDIT and the audit event: who ran what, and cells that are not run."""

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import commands
import pytest
from harness import Launcher, Program, wait_for
from jupyter_client import BlockingKernelClient

SLEEPER = "import time\nran = False\nwhile True: time.sleep(0.01)\n"

# Refuses what its name says, and tells what it was asked.
HOOK = """
import os, sys, time
seen = []

def hook(event, arguments):
    if event == "rtconsole.execute":
        seen.append(arguments)
        print("asked", flush=True)
        if "forbidden" in arguments[0]:
            raise PermissionError("not on this host")
        if "worse" in arguments[0]:
            raise SystemExit(3)

sys.addaudithook(hook)
while True: time.sleep(0.01)
"""


def audited(launch: Launcher, destination: object, source: str = SLEEPER) -> Program:
    return launch(source, env={"RTCONSOLE_AUDIT": str(destination)})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_cell(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    program = audited(launch, path)
    with program.client() as client:
        client.run("1 + 1")
        client.run("print('é')\nraise ValueError")
        client.run("2", silent=True)
        client.run("name = input()", allow_stdin=False)
        client.run("", user_expressions={"x": "ran"})
        client.control("execute_request", code="3", silent=False)
        client.kernel.complete("ra")
        told = lines(path)
        assert [line["code"] for line in told] == [
            *("1 + 1", "print('é')\nraise ValueError", "2", "name = input()", "", "3")
        ]
        assert [line["silent"] for line in told] == [False, False, True, False, False, False]
        assert told[4]["user_expressions"] == {"x": "ran"}
        for line in told:
            assert line["time"].endswith("Z")
            assert (line["pid"], line["program"]) == (program.pid, "program.py")
            assert (line["uid"], line["client_pid"]) == (os.geteuid(), os.getpid())
            assert line["user"] == pwd.getpwuid(os.geteuid()).pw_name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().isascii()


def test_over_tcp_the_user_is_not_known(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    environment = {"RTCONSOLE_AUDIT": str(path), "RTCONSOLE_TRANSPORT": "tcp"}
    with launch(SLEEPER, env=environment).client() as client:
        client.run("1")
    assert [lines(path)[0][name] for name in ("uid", "user", "client_pid")] == [None] * 3


def test_an_input_that_is_answered_is_not_a_cell(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    with audited(launch, path).client() as client:
        asked = client.send("secret = input('password')", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=30)
        client.kernel.input("sesame")
        assert client.finish(asked).status == "ok"
        assert "sesame" not in path.read_text()


def test_a_cell_in_a_subshell_is_its_senders(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    with audited(launch, path).client() as client:
        shell = client.control("create_subshell_request")["subshell_id"]
        assert client.finish(client.send_to(shell, "1")).status == "ok"
        assert lines(path)[0]["client_pid"] == os.getpid()


def test_what_cannot_be_written_down_is_not_run(launch: Launcher) -> None:
    elsewhere = launch.home / "elsewhere"
    elsewhere.write_text("mine")
    link = launch.home / "link"
    link.symlink_to(elsewhere)
    os.link(elsewhere, second := launch.home / "second")
    os.mkfifo(pipe := launch.home / "pipe")
    for destination, why in (
        (launch.home / "missing/audit.log", "No such file"),
        (link, "symbolic link"),
        (second, "second name"),
        (pipe, "No such device"),
        ("/dev/full", "No space left"),
        ("relative.log", "absolute path"),
        (f"syslog:{launch.home}/nowhere", "No such file"),
        (launch.home, "directory"),
    ):
        with audited(launch, destination).client() as client:
            reply = client.run("ran = True")
            assert reply.error == "CellRefused", destination
            assert "cannot be written" in reply.traceback
            assert why in reply.traceback
            told = client.kernel.inspect("ran", 2)
            assert "False" in client.shell_reply(told)["data"]["text/plain"]
    assert elsewhere.read_text() == "mine"


@commands.needs_users
def test_a_log_that_somebody_else_has_put_there_is_not_used(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    path.touch()
    os.chown(path, commands.SOMEBODY, commands.SOMEBODY)
    os.chmod(path, 0o666)
    # root trusts root's and its own; that is the same here, so a file of a third is neither
    with audited(launch, path).client() as client:
        reply = client.run("1")
        assert "belongs to another user" in reply.traceback
    assert path.read_bytes() == b""


def test_a_full_disk_refuses_until_there_is_space(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    program = audited(launch, path)
    with program.client() as client:
        client.run("import resource")
        whole = path.stat().st_size
        # as a full disk, for this process: a write ends in the middle of the line
        client.run(
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({whole + 350}, resource.RLIM_INFINITY))"
        )
        assert client.run("ran = True").error == "CellRefused"
        assert client.run("ran = True").error == "CellRefused"
        resource_of(program.pid)
        assert client.run("ran").result == "False"
    good = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert json.loads(good[-1])["code"] == "ran"


def resource_of(pid: int) -> None:
    import resource

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_it_can_be_rotated(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    with audited(launch, path).client() as client:
        client.run("1")
        path.rename(launch.home / "audit.log.1")
        client.run("2")
    assert [line["code"] for line in lines(path)] == ["2"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_system_log(launch: Launcher, kind: int) -> None:
    path = launch.home / "log"
    with socket.socket(socket.AF_UNIX, kind) as log:
        log.bind(str(path))
        if kind == socket.SOCK_STREAM:
            log.listen()
        log.settimeout(30)

        def message() -> str:
            if kind == socket.SOCK_DGRAM:
                return log.recv(1 << 16).decode()
            with log.accept()[0] as taken:
                taken.settimeout(30)
                data = b""
                while not data.endswith(b"\0"):
                    data += taken.recv(1 << 16)
                return data[:-1].decode()

        program = audited(launch, f"syslog:{path}")
        with program.client() as client:
            client.run("1 + 1")
            first = message()
            assert first.startswith("<86>")
            assert f" rtconsole[{program.pid}]: {{" in first
            assert json.loads(first[first.index("{") :])["code"] == "1 + 1"
            long = "# " + "x" * 3000
            client.run(long)
            parts = [message() for _ in range(3)]
            told = [json.loads(part[part.index("{") :]) for part in parts]
            assert "".join(part["code"] for part in told) == long
            assert [part["part"] for part in told] == [[1, 3], [2, 3], [3, 3]]


def test_the_programs_audit_hook_hears_of_each_cell_and_can_refuse_it(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    program = audited(launch, path, HOOK)
    with program.client() as client:
        reply = client.run("print('a cell')")
        assert reply.stdout == "a cell\n"  # what the hook prints is the program's
        assert program.stdout == "asked\n"
        reply = client.run("forbidden = 1")
        assert reply.traceback == (
            "CellRefused: an audit hook of the program: PermissionError: not on this host"
        )
        assert client.run("", user_expressions={"x": "'forbidden'"}).error == "CellRefused"
        assert client.run("worse = 1", silent=True).error == "CellRefused"
        assert (
            client.run("seen[0]").result == f"(\"print('a cell')\", {os.geteuid()}, {os.getpid()})"
        )
        assert client.run("'for' 'bidden' in globals()").result == "False"
    told = [(line["code"], "refused" in line) for line in lines(path)]
    assert told[1] == ("forbidden = 1", True)
    assert told[-1] == ("'for' 'bidden' in globals()", False)
    assert program.is_running()


def test_the_audit_stays_when_the_program_cleans_its_environment(launch: Launcher) -> None:
    path = launch.home / "audit.log"
    source = "import os, time\nos.environ.clear()\nprint('up', flush=True)\n" + SLEEPER
    program = audited(launch, path, source)
    program.wait_for_output("up")
    with program.client() as client:
        client.run("1")
    assert [line["code"] for line in lines(path)] == ["1"]


def test_a_client_cannot_pass_for_another(launch: Launcher) -> None:
    """By the identity of another's connection, which is in each of its messages."""
    path = launch.home / "audit.log"
    program = audited(launch, path)
    code = f"""
from jupyter_client import BlockingKernelClient
kernel = BlockingKernelClient()
kernel.load_connection_file({str(program.connection_file)!r})
kernel.session.session = "the same"
kernel.execute("theirs = 1")
kernel.shell_channel.socket.close(linger=2000)
kernel.context.term()
"""
    with program.client() as busy:
        shell = busy.control("create_subshell_request")["subshell_id"]
        running = busy.send("while not ran: time.sleep(0.01)")
        wait_for(lambda: path.exists(), "the cell")
        environment = launch.environment(RTCONSOLE=None)
        other = subprocess.Popen([sys.executable, "-c", code], env=environment)
        assert other.wait(60) == 0
        client = BlockingKernelClient()
        client.load_connection_file(str(program.connection_file))
        client.session.session = "the same"
        try:
            client.execute("mine = 1")
            busy.send_to(shell, "ran = True")
            busy.finish(running)
            wait_for(lambda: "mine = 1" in path.read_text(), "the second cell")
        finally:
            client.stop_channels()
    told = {line["code"]: line["client_pid"] for line in lines(path)}
    assert told["mine = 1"] == os.getpid()
    assert told["theirs = 1"] in (other.pid, None)  # it may have gone too soon to be seen
