"""Who has no key gets nothing, and who sends nonsense, or too much, keeps nobody from anything.

RTCONSOLE_MESSAGES says how many hostile messages are sent (``make hostile``: 100,000).
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from harness import PATIENCE, Client, Launcher, Program, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrored import Obedient

MESSAGES = int(os.environ.get("RTCONSOLE_MESSAGES", "4000"))
EXAMPLES = max(60, min(MESSAGES // 60, 1000))

pytestmark = pytest.mark.timeout(120 + MESSAGES // 40)

# It notes in `ran` whatever a cell did, and counts.
PROGRAM = """
import threading, time
ran = []
t = 0
while True:
    t += 1
    time.sleep(0.01)
"""


def resident(program: Program) -> int:
    """Return the resident memory, in bytes."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


linux = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")


fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=MESSAGES < 100_000,  # else others each time
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=["ipc", "tcp"])
def target(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A program that all tests of a transport attack, in turn."""
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    launcher = Launcher(home)
    program = launcher(PROGRAM, env={"RTCONSOLE_TRANSPORT": request.param})
    try:
        assert_served(program)
        yield program
    finally:
        program.stop()
        if request.session.testsfailed:
            print(program.describe()[-5000:])
        shutil.rmtree(home, ignore_errors=True)


def assert_served(program: Program, ran: list[Any] | None = None) -> None:
    """Check that a client is served, that nothing was run or said, and that the program goes on."""
    with program.client() as client:
        before = client.value("t")
        assert client.value("ran") == (ran or [])
        wait_for(lambda: client.value("t") > before, "the program to go on")
    assert program.is_running()
    assert (program.stdout, program.stderr) == ("", "")


def send(program: Program, channel: str, data: bytes, shake_hands: bool = False) -> None:
    """Send bytes on a connection of their own, and wait for an answer or to be turned away."""
    with contextlib.suppress(OSError), wire.connect(program.info, channel) as sock:
        if shake_hands:
            wire.shake_hands(sock, channel)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        if not shake_hands:
            sock.recv(1 << 16)


# -- bytes of any kind -------------------------------------------------------------------

names = st.sampled_from([b"READY", b"ERROR", b"SUBSCRIBE", b"CANCEL", b"PING", b"PONG", b"HELLO"])
commands = st.builds(
    lambda name, body, flags: wire.frame(bytes([len(name)]) + name + body, wire.COMMAND | flags),
    names | st.binary(max_size=20),
    st.binary(max_size=60),
    st.sampled_from([0, 0, 1, 8, 0x80]),
)
frames = st.builds(
    wire.frame,
    st.binary(max_size=300) | st.sampled_from([b"", b"\x01", b"\x00", wire.DELIMITER]),
    st.integers(0, 255),
)
sizes = st.integers(0, (1 << 64) - 1).map(lambda n: b"\x02" + n.to_bytes(8, "big"))
greetings = st.builds(
    lambda base, at, other: base[: at % 64] + other + base[at % 64 + len(other) :],
    st.sampled_from([wire.greeting(), wire.greeting(b"CURVE"), wire.greeting(b"PLAIN", True)]),
    st.integers(0, 63),
    st.binary(max_size=8),
)
beginnings = st.sampled_from([wire.handshake(name) for name in wire.KINDS]) | st.builds(
    bytes.__add__, greetings, commands
)
conversations = st.builds(
    lambda begin, rest, cut: (begin + b"".join(rest))[: cut or None],
    st.sampled_from([b""]) | greetings | beginnings,
    st.lists(commands | frames | sizes | st.binary(max_size=50), max_size=6),
    st.sampled_from([0, 0, 0, 5, 30, 70, 100]),
)


@fuzz
@given(channel=st.sampled_from(wire.CHANNELS), data=conversations)
def test_any_bytes_on_any_channel_are_survived(target: Program, channel: str, data: bytes) -> None:
    send(target, channel, data)
    assert target.is_running()


# -- messages ----------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADER = {"msg_id": "1", "session": "s", "username": "u", "date": "2020-01-01", "version": "5.3"}
KINDS = [
    *("kernel_info_request", "complete_request", "inspect_request", "history_request"),
    *("is_complete_request", "comm_info_request", "comm_open", "comm_msg", "comm_close"),
    *("shutdown_request", "interrupt_request", "debug_request", "usage_request"),
    *("list_subshell_request", "delete_subshell_request", "stack_request", "kept_request"),
    *("execute_request", "connect_request", "execute_reply", "input_reply", "status", "", "x" * 99),
]
CONTENTS = ("code", "cursor_pos", "comm_id", "target_name", "data", "subshell_id", "n", "output")
headers = st.builds(
    lambda kind, changes: {**HEADER, "msg_type": kind, **changes},
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from([*HEADER, "msg_type", "subshell_id"]) | st.text(max_size=5),
        values,
        max_size=2,
    ),
)
# not code that could be anything
contents = st.dictionaries(
    st.sampled_from(CONTENTS) | st.text(max_size=5),
    values.filter(lambda value: not isinstance(value, str)) | st.just("x"),
    max_size=4,
)
parts = st.tuples(
    *(
        usual.map(lambda part: json.dumps(part).encode()) | odd
        for usual, odd in (
            (headers | headers | headers | values, st.binary(max_size=20)),
            (headers | values, st.binary(max_size=20)),
            (values, st.binary(max_size=20)),
            (contents | contents | values, st.binary(max_size=20)),
        )
    )
)


@fuzz
@given(channel=st.sampled_from(["shell", "control", "stdin", "shell"]), data=st.data())
def test_messages_of_wrong_types_even_signed_are_survived(
    target: Program, channel: str, data: st.DataObject
) -> None:
    key = target.info["key"]
    identities = data.draw(st.lists(st.binary(max_size=10), max_size=3))
    four, extra = data.draw(parts), data.draw(st.lists(st.binary(max_size=100), max_size=2))
    key = data.draw(st.sampled_from([key, key, key, "wrong"]))
    message = [*identities, *wire.signed(key, list(four), extra)]
    for _ in range(data.draw(st.sampled_from([0, 0, 0, 1, 2]))):  # a part missing, or twice
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + 1] = data.draw(st.sampled_from([[], [message[at]] * 2, [b""]]))
    if target.info["transport"] == "ipc":
        send(target, channel, wire.multipart(message or [b""]), shake_hands=True)
    else:
        attacker(target).sockets[channel].send_multipart(message or [b""])
    assert target.is_running()


def test_after_all_that_clients_are_served(target: Program) -> None:
    assert_served(target)


# -- many messages -----------------------------------------------------------------------


class Attacker:
    """A client's sockets on all channels, with the keys of CurveZMQ: what gets furthest."""

    def __init__(self, program: Program) -> None:
        self.client = Client(program.connection_file)
        self.session = self.client.kernel.session
        kernel = self.client.kernel
        self.sockets = {
            name: getattr(kernel, f"{name}_channel").socket
            for name in ("shell", "control", "stdin", "iopub")
        }
        for socket_ in self.sockets.values():
            socket_.linger = 0
            socket_.sndtimeo = 60_000

    def answers(self) -> list[str]:
        """Return the channels on which something was answered."""
        return [name for name in ("shell", "control", "stdin") if self.sockets[name].poll(0)]


_attackers: dict[int, Attacker] = {}


def attacker(program: Program) -> Attacker:
    """Return the attacker of a program, one for all the examples of a test."""
    if program.pid not in _attackers:
        _attackers[program.pid] = Attacker(program)
    return _attackers[program.pid]


@pytest.fixture(scope="module", autouse=True)
def end_of_attackers() -> Iterator[None]:
    yield
    for one in _attackers.values():
        one.client.close()
    _attackers.clear()


def wrongly_signed(rng: random.Random, key: str) -> list[bytes]:
    return wire.request(rng.choice(["", key[:-1], key.upper(), "0" * 64]), *EVIL)


def half_signed(rng: random.Random, key: str) -> list[bytes]:
    message = wire.request(key, *EVIL)
    which = rng.randrange(5)
    if which == 0:
        message[1] = message[1][: rng.randrange(64)]
    elif which == 1:
        message[1] = message[1].upper() if message[1].upper() != message[1] else b""
    elif which == 2:
        message[5] = message[5].replace(b"'evil'", b"'worse'")
    elif which == 3:
        message = message[: rng.randrange(1, 6)]
    else:
        message[2:4] = [message[2] + message[3]]
    return message


def noise(rng: random.Random, key: str) -> list[bytes]:
    parts = [rng.randbytes(rng.randrange(60)) for _ in range(rng.randrange(1, 9))]
    if rng.random() < 0.5:
        parts.insert(rng.randrange(len(parts)), wire.DELIMITER)
    return parts


QUESTION = "kernel_info_request", dict[str, Any]()
EVIL = "execute_request", {"code": "ran.append('evil')", "silent": False}
MAKERS: list[Callable[[random.Random, str], list[bytes]]] = [wrongly_signed, half_signed, noise]


def test_a_client_without_the_key_gets_nothing_run_and_nothing_answered(target: Program) -> None:
    """A mixture of what is wrong, thousands of messages; and one that is right, replayed."""
    rng = random.Random(1)
    key = target.info["key"]
    bad = Attacker(target)
    replayed = [*wire.request(key, "execute_request", {"code": "ran.append('once')"})]
    try:
        bad.sockets["shell"].send_multipart(replayed)
        assert bad.sockets["shell"].poll(60_000)
        while bad.sockets["shell"].poll(300):
            bad.sockets["shell"].recv_multipart()
        with target.client() as client:
            for number in range(MESSAGES):
                channel = ("shell", "control", "stdin", "shell", "control")[number % 5]
                kind = rng.randrange(20)
                if kind == 0 and target.info["transport"] == "ipc":
                    # truncated on the wire
                    data = wire.multipart(wrongly_signed(rng, key))
                    send(target, channel, data[: rng.randrange(len(data))], shake_hands=True)
                    continue
                if channel == "stdin" and number > 4000:
                    continue  # it is read when a cell asks: its queue is full
                message = replayed if kind == 1 else rng.choice(MAKERS)(rng, key)
                bad.sockets[channel].send_multipart(message)
                if number % 1000 == 999:
                    assert client.value("ran") == ["once"]
            assert client.value("ran") == ["once"]
        assert bad.answers() == []
        assert_served(target, ["once"])
    finally:
        bad.client.close()
        with target.client() as client:
            client.run("ran.clear()")


def test_a_captured_message_is_served_once_by_whichever_connection_and_channel(
    launch: Launcher,
) -> None:
    program = launch(PROGRAM)
    request = wire.request(program.info["key"], *EVIL)
    with program.client() as client:
        for number, channel in enumerate(["control", "shell", "control", "stdin", "shell"]):
            with wire.connect(program.info, channel, PATIENCE) as sock:
                wire.shake_hands(sock, channel)
                sock.sendall(wire.multipart(request))
                if not number:
                    assert sock.recv(1)
                else:
                    sock.sendall(wire.multipart(wire.request(program.info["key"], *QUESTION)))
                    assert channel == "stdin" or sock.recv(1)
                    sock.settimeout(0.2)
                    with contextlib.suppress(TimeoutError):
                        while data := sock.recv(1 << 16):
                            assert b"execute_reply" not in data
        assert client.value("ran") == ["evil"]


def test_a_captured_message_is_nothing_to_a_console_that_is_opened_anew(launch: Launcher) -> None:
    obedient = Obedient(launch, "import rtconsole\nran = []")
    program = obedient.program
    old = program.info
    with program.client() as client:
        assert client.value("ran") == []
    obedient.do("rtconsole.stop_console()\nrtconsole.start_console()")
    assert program.info["key"] != old["key"]
    with program.client() as client, wire.connect(program.info, "shell", PATIENCE) as sock:
        wire.shake_hands(sock, "shell")
        sock.sendall(wire.multipart(wire.request(old["key"], *EVIL)))
        sock.sendall(wire.multipart(wire.request(program.info["key"], *QUESTION)))
        assert sock.recv(1)
        assert client.value("ran") == []


@linux
def test_answers_of_a_stranger_to_a_cell_are_neither_taken_nor_kept(launch: Launcher) -> None:
    program = launch(PROGRAM)
    evil = {"value": "evil"}
    with program.client() as client, wire.connect(program.info, "stdin") as sock:
        wire.shake_hands(sock, "stdin")
        request = client.send("ran.append(input())", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=PATIENCE)
        before = resident(program)
        for number in range(100):  # a wrong signature may be as long as anything
            message = wire.request("", "input_reply", evil)
            message[1] = b"%d" % number + bytes(1 << 19)
            sock.sendall(wire.multipart(message))
        captured = wire.request(program.info["key"], "input_reply", {"value": "once"})
        sock.sendall(wire.multipart(captured))
        assert client.finish(request).status == "ok"
        assert resident(program) - before < 24 << 20
        request = client.send("ran.append(input())", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=PATIENCE)
        sock.sendall(wire.multipart(captured))
        client.kernel.input("twice")
        assert client.finish(request).status == "ok"
        assert client.value("ran") == ["once", "twice"]


# -- too much ----------------------------------------------------------------------------


def flood(sock: socket.socket, blocks: list[bytes], seconds: float) -> None:
    """Send as fast as it is taken, reading nothing; blocks are sent whole."""
    end = time.monotonic() + seconds
    left = memoryview(b"")
    number = 0
    sock.setblocking(False)
    while time.monotonic() < end and (left or number < len(blocks)):
        if not left:
            left, number = memoryview(blocks[number]), number + 1
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            time.sleep(0.01)
        except ConnectionError:
            return  # it was turned away, as may be


def blocks(program: Program, what: str) -> tuple[str, list[bytes]]:
    """Return the channel, and what a flood sends on it."""
    key = program.info["key"]

    def many(make: Callable[[], list[bytes]]) -> list[bytes]:
        return [b"".join(wire.multipart(make()) for _ in range(500)) for _ in range(12)]

    if what == "subscriptions":
        return "iopub", [b"".join(wire.frame(b"\x01%d" % n) for n in range(20_000))] * 5
    if what == "junk on iopub":
        return "iopub", [wire.frame(b"junk" * 20) * 20_000] * 5
    if what == "answers that nobody asked for":
        return "stdin", many(lambda: wire.request(key, "input_reply", {"value": "x" * 1000}))
    if what == "unsigned":
        return "shell", many(lambda: wire.request("", "execute_request", {"code": "1" * 1000}))
    if what == "control":
        return "control", many(lambda: wire.request(key, "kernel_info_request", {}))
    if what == "cells":
        return "shell", many(lambda: wire.request(key, "execute_request", {"code": "#" * 1000}))
    assert what == "questions"
    return "shell", many(lambda: wire.request(key, "kernel_info_request", {}))


@linux
@pytest.mark.parametrize(
    "what",
    [
        *("unsigned", "questions", "cells", "control", "subscriptions", "junk on iopub"),
        "answers that nobody asked for",
    ],
)
def test_beside_a_flood_others_are_served_and_memory_is_bounded(
    launch: Launcher, what: str
) -> None:
    program = launch(PROGRAM)
    assert_served(program)
    before = resident(program)
    channel, data = blocks(program, what)
    with wire.connect(program.info, channel) as sock:
        wire.shake_hands(sock, channel)
        flood(sock, data, 1.5)
        assert_served(program)
    assert_served(program)
    assert resident(program) - before < 24 << 20


def test_beside_a_flood_of_control_another_client_interrupts_its_cell(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as client:
        channel, data = blocks(program, "control")
        with wire.connect(program.info, channel) as sock:
            wire.shake_hands(sock, channel)
            flood(sock, data, 1.5)
            request = client.send("import time\nwhile True: time.sleep(0.01)")
            client.iopub("execute_input")
            client.interrupt()
            assert client.finish(request).error == "KeyboardInterrupt"
    assert_served(program)


@linux
def test_a_flood_while_a_cell_hangs_keeps_nobody_from_a_shell_beside_it(launch: Launcher) -> None:
    program = launch(PROGRAM)
    with program.client() as stuck:
        stuck.send("import threading; threading.Lock().acquire(); t_lock = threading.Event()")
        request = stuck.send("t_lock.wait()")
        stuck.iopub("execute_input")
        channel, data = blocks(program, "questions")
        with wire.connect(program.info, channel) as sock:
            wire.shake_hands(sock, channel)
            flood(sock, data, 1.5)
            client = Client(program.connection_file)
            try:
                shell = client.control("create_subshell_request")["subshell_id"]
                assert client.shell_reply(client.send_to(shell, "t"))["status"] == "ok"
            finally:
                client.close()
        stuck.control("stack_request")
        shell = stuck.control("create_subshell_request")["subshell_id"]
        stuck.send_to(shell, "t_lock.set()")
        assert stuck.finish(request, patience=60).status == "ok"
    assert_served(program)


@linux
def test_two_hundred_clients_at_once_that_never_read(target: Program) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{target.pid}/fd"))

    assert_served(target)
    before = descriptors()
    with contextlib.ExitStack() as stack:
        for number in range(200):
            channel = wire.CHANNELS[number % 5]
            sock = stack.enter_context(wire.connect(target.info, channel))
            with contextlib.suppress(ConnectionError):  # without the keys of CurveZMQ
                sock.sendall(wire.handshake(channel))
        assert_served(target)
    wait_for(lambda: descriptors() <= before, "the connections to be closed")
    assert_served(target)


# How often anybody was let in.
COUNT_TURNS = """
from rtconsole.kernel.atonce import AtOnce
turns = []
def meanwhile(*arguments, inner=AtOnce.meanwhile):
    turns.append(inner(*arguments))
    return turns[-1]
AtOnce.meanwhile = meanwhile
"""


@linux
def test_of_a_crowd_only_who_has_hung_up_is_turned_away_and_the_others_hardly_wait(
    launch: Launcher,
) -> None:
    program = launch(PROGRAM)
    with program.client() as client, contextlib.ExitStack() as stack:
        assert client.run(COUNT_TURNS).status == "ok"
        info = program.info
        program.signal(signal.SIGSTOP)
        try:
            patient = []
            for number in (30, 0, 0, 300, 70):
                for _ in range(number):
                    wire.connect(info, "iopub").close()
                patient.append(stack.enter_context(wire.connect(info, "iopub", PATIENCE)))
        finally:
            program.signal(signal.SIGCONT)
        for sock in patient:
            wire.shake_hands(sock, "iopub")
        assert_served(program)
        # it was several for each, when it was waited for libzmq to keep who had hung up
        assert client.value("len(turns)") < 200


@linux
def test_a_frame_of_any_size_takes_no_memory(target: Program) -> None:
    before = resident(target)
    for channel in wire.CHANNELS:
        for begin in (wire.greeting(), wire.handshake(channel)):
            with wire.connect(target.info, channel) as sock, contextlib.suppress(OSError):
                sock.sendall(begin + b"\x02" + (1 << 33).to_bytes(8, "big"))
                for _ in range(200):
                    sock.sendall(bytes(1 << 20))
    assert resident(target) - before < 160 << 20
    assert_served(target)
