"""What is sent by nobody's client, and what cannot be parsed: the next client is served."""

import contextlib
import os
import socket

import pytest
import zmq
from harness import PATIENCE, Client, Launcher, Program, wait_for

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


@pytest.fixture(params=["ipc", "tcp"])
def program(request: pytest.FixtureRequest, launch: Launcher) -> Program:
    return launch(
        "import time\nwhile True: time.sleep(0.01)", env={"RTCONSOLE_TRANSPORT": request.param}
    )


def connect(program: Program, channel: str) -> socket.socket:
    info = program.info
    if info["transport"] == "tcp":
        return socket.create_connection((info["ip"], info[f"{channel}_port"]))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"{info['ip']}-{info[f'{channel}_port']}")
    return sock


def assert_served(program: Program) -> None:
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
    assert program.is_running()
    assert (program.stdout, program.stderr) == ("", "")


@pytest.mark.parametrize("when", ["dormant", "running"])
def test_garbage_on_every_channel_is_ignored(program: Program, when: str) -> None:
    if when == "running":
        assert_served(program)
    for channel in CHANNELS:
        for junk in (b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(10_000), b"\xff" + bytes(200)):
            with connect(program, channel) as sock:
                sock.settimeout(5)
                try:
                    sock.sendall(junk)
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # refused already
    assert_served(program)


def test_messages_with_a_wrong_key_are_not_answered_and_nothing_is_run(program: Program) -> None:
    with program.client() as good:
        good.run("ran = False")
        bad = Client(program.connection_file)
        try:
            bad.kernel.session.key = b"wrong"
            bad.kernel.session.check_pid = False
            for _ in range(20):
                bad.send("ran = True")
                for kind in ("shutdown_request", "interrupt_request", "nonsense", ""):
                    message = bad.kernel.session.msg(kind, {})
                    bad.kernel.control_channel.send(message)
                    bad.kernel.stdin_channel.send(message)
            assert good.value("ran") is False
            assert not bad.kernel.shell_channel.msg_ready()
            assert not bad.kernel.control_channel.msg_ready()
        finally:
            bad.close()
    assert_served(program)


def test_requests_that_make_no_sense_are_survived(program: Program) -> None:
    with program.client() as client:
        session = client.kernel.session
        for channel in (client.kernel.shell_channel, client.kernel.control_channel):
            for kind, content in (
                ("execute_request", {}),
                ("execute_request", {"code": 3}),
                ("complete_request", {"code": "x"}),
                ("inspect_request", {}),
                ("history_request", {"hist_access_type": "never"}),
                ("comm_open", {}),
                ("no_such_request", {}),
                ("debug_request", {"command": "initialize"}),
                ("shutdown_request", {}),
            ):
                channel.send(session.msg(kind, content))
            channel.socket.send_multipart([b"<IDS|MSG>", b""])
            channel.socket.send_multipart([b"", b"x" * 100_000])
    assert_served(program)


def test_a_client_killed_in_the_middle_of_a_message(program: Program) -> None:
    assert_served(program)
    for channel in CHANNELS:
        sock = connect(program, channel)
        sock.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL")
        sock.close()
        sock = connect(program, channel)
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
        half = b"\x02" + (1 << 40).to_bytes(8, "big") + b"half of it"
        with contextlib.suppress(OSError):  # where a DEALER is not talked to
            sock.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready)
            sock.sendall(half)
        sock.close()
    assert_served(program)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RTCONSOLE_TRANSPORT", "pigeon"), ("RTCONSOLE_EAGER", "perhaps")],
)
def test_values_that_cannot_be_parsed_are_told_to_the_debug_log(
    launch: Launcher, name: str, value: str
) -> None:
    program = launch("import time\ntime.sleep(60)", env={name: value})
    assert_served(program)
    assert f"{name}={value!r}" in program.log


def test_an_unknown_profile_is_told_to_the_client(launch: Launcher) -> None:
    program = launch("import time\ntime.sleep(60)", env={"RTCONSOLE_PROFILE": "nosuch"})
    with program.client() as client:
        assert "nosuch" in client.run("1").traceback
    assert program.is_running()


def test_a_profile_is_loaded_if_it_is_asked_for(launch: Launcher) -> None:
    folder = launch.home / ".ipython/profile_live"
    (folder / "startup").mkdir(parents=True)
    (folder / "startup/10.py").write_text("from_startup = 1")
    (folder / "ipython_config.py").write_text("c.InteractiveShell.xmode = 'Minimal'\n")
    program = launch("import time\ntime.sleep(60)", env={"RTCONSOLE_PROFILE": "live"})
    with program.client() as client:
        assert client.run("from_startup").result == "1"
        assert client.run("get_ipython().xmode").result == "'Minimal'"
        assert client.run("1/0").traceback.strip().count("\n") == 0
    assert (folder / "history.sqlite").exists()


def test_an_eager_kernel_boots_without_a_client(launch: Launcher) -> None:
    program = launch("import time\ntime.sleep(60)", env={"RTCONSOLE_EAGER": "1"})
    assert program.connection_file
    wait_for(lambda: "the kernel runs" in program.log, "the kernel")
    assert_served(program)


def junk_frames() -> bytes:
    """Return messages as ZMTP 1.0 has them: some are subscriptions, most are none."""
    bodies = [b"x", b"\x01topic", b"y" * 100, b"\x00topic", b"", b"z", b"\x00"]
    return b"".join(bytes([len(body) + 1, 0]) + body for body in bodies)


def test_clients_are_told_beside_those_that_send_junk_on_iopub(program: Program) -> None:
    info = program.info
    if info["transport"] == "tcp":
        pytest.skip("nobody gets so far without the keys")
    assert_served(program)
    with zmq.Context() as context:
        for _ in range(120):
            junk = [connect(program, "iopub") for _ in range(3)]
            with context.socket(zmq.SUB) as subscriber:
                subscriber.subscribe(b"")
                subscriber.connect(f"ipc://{info['ip']}-{info['iopub_port']}")
                for sock in junk:
                    with sock, contextlib.suppress(OSError):  # hung up on already
                        sock.sendall(junk_frames() * 10)
                assert subscriber.poll(PATIENCE * 1000), "a client that is told nothing"
                assert b"iopub_welcome" in b"".join(subscriber.recv_multipart())
    assert_served(program)
