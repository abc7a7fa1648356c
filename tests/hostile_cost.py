"""What a client that floods costs the program: ``make hostile`` prints the table.

Two programs count in their main threads, each with a client, and the console of one is flooded, as
fast as it takes it. How far that one counts in a second of its process's, compared with the other,
which has a tenth of the same processor, and so what else the machine does slows both down as
much; and that compared with before the flood: it is the throughput under the flood as a part of
that without.

    [RTCONSOLE_TRANSPORT=tcp] python tests/hostile_cost.py [seconds [flood...]]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from harness import Launcher, Program, wait_for

COUNTER = """
import mmap
with open("count", "r+b") as file:
    shared = mmap.mmap(file.fileno(), 8)
n = 0
while True:
    for _ in range(1000): n += 1
    shared[:8] = n.to_bytes(8, "little")
"""

FLOODER = """
import json, select, sys, time
import wire
info, what = json.loads(sys.argv[1]), sys.argv[2]
key = info["key"]
kinds = {
    "unsigned": ("shell", "", "execute_request", {"code": "1"}),
    "wrongly signed": ("control", "0" * 64, "execute_request", {"code": "1"}),
    "kernel_info": ("shell", key, "kernel_info_request", {}),
    "control": ("control", key, "kernel_info_request", {}),
    "cells": ("shell", key, "execute_request", {"code": "pass", "silent": True}),
    "stdin": ("stdin", key, "input_reply", {"value": "x"}),
}
if info["transport"] == "tcp" and what != "connections":  # by who has the keys of CurveZMQ
    import zmq
    kinds["subscriptions"] = "iopub",
    channel, *message = kinds[what]
    sock = zmq.Context().socket(zmq.XSUB if message == [] else zmq.DEALER)
    sock.curve_serverkey = sock.curve_publickey = info["curve_publickey"].encode()
    sock.curve_secretkey = info["curve_secretkey"].encode()
    sock.connect(f"tcp://127.0.0.1:{info[f'{channel}_port']}")
    print("on", flush=True)
    n = 0
    while True:
        n += 1
        sock.send_multipart(wire.request(*message) if message else [b"\\x01%d" % n])
        while sock.poll(0): sock.recv_multipart()
if what in ("connections", "subscriptions"):
    data = b"".join(wire.frame(b"\\x01%d" % n) for n in range(1000))
    print("on", flush=True)
    while True:
        try:
            with wire.connect(info, "iopub") as sock:
                if what == "subscriptions":
                    wire.shake_hands(sock, "iopub")
                    while True: sock.sendall(data)
        except OSError:
            time.sleep(0.001)
channel, *message = kinds[what]
sock = wire.connect(info, channel, 600)
wire.shake_hands(sock, channel)
print("on", flush=True)
while True:
    block = b"".join(wire.multipart(wire.request(*message)) for _ in range(100))
    while block:
        readable, writable, _ = select.select([sock], [sock], [])
        if readable and not sock.recv(1 << 20): sys.exit("turned away")
        if writable: block = block[sock.send(block):]
"""

FLOODS = (
    *("unsigned", "wrongly signed", "kernel_info", "cells", "control", "stdin"),
    *("subscriptions", "connections"),
)


class Look(NamedTuple):
    """What was used by the main thread and by the console's, in seconds; how far it counted."""

    main: float
    ours: float
    count: int

    def since(self, other: "Look") -> "Look":
        return Look(*(now - then for now, then in zip(self, other, strict=True)))


def look(program: Program) -> Look:
    main = ours = 0.0
    for folder in program.task_folders():
        with suppress(OSError):  # it just ended
            # libzmq's own threads do without the interpreter
            if not (folder / "comm").read_text().startswith("ZMQ"):
                used = int((folder / "schedstat").read_text().split()[0]) / 1e9
                is_main = folder.name == str(program.pid)
                main, ours = main + used * is_main, ours + used * (not is_main)
    return Look(main, ours, int.from_bytes((program.home / "count").read_bytes(), "little"))


def over(programs: list[Program], seconds: float) -> list[Look]:
    before = [look(program) for program in programs]
    time.sleep(seconds)
    return [look(x).since(y) for x, y in zip(programs, before, strict=True)]


def rate(now: Look) -> float:
    """Return how far it counted in a second in which the main thread or the console's ran."""
    return now.count / (now.main + now.ours)


def resident(program: Program) -> float:
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def counting(nice: int) -> Iterator[Program]:
    """Start a program that counts, with a console that somebody has used."""
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    (home / "count").write_bytes(bytes(8))
    transport = os.environ.get("RTCONSOLE_TRANSPORT")
    first = min(os.sched_getaffinity(0))
    python = ["nice", "-n", str(nice), "taskset", "-c", str(first), sys.executable]
    env = {"RTCONSOLE_TRANSPORT": transport}
    program = Launcher(home)(COUNTER, python=python, cwd=home, env=env)
    try:
        with program.client() as client:
            assert client.run("1").status == "ok"
            yield program
    finally:
        program.stop()
        wait_for(lambda: not program.is_running(), "its end")
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def flooding(program: Program, what: str) -> Iterator[None]:
    argv = [sys.executable, "-c", FLOODER, json.dumps(program.info), what]
    flooder = subprocess.Popen(
        ["taskset", "-c", str(max(os.sched_getaffinity(0))), *argv],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert flooder.stdout is not None
        assert flooder.stdout.readline() == "on\n"
        yield
    finally:
        flooder.kill()
        flooder.communicate()


def cost(what: str, seconds: float) -> str:
    """Return a line about one kind of flood."""
    with counting(0) as flooded, counting(10) as other:
        both = [flooded, other]
        before, memory = over(both, seconds), resident(flooded)

        def kept(now: list[Look]) -> float:
            return rate(now[0]) / rate(now[1]) / (rate(before[0]) / rate(before[1]))

        with flooding(flooded, what):
            burst = over(both, 2.0)
            time.sleep(8)  # the requests of the burst may wait for a while
            under = over(both, seconds)
            began = time.monotonic()
            try:
                with flooded.client() as client:
                    assert client.run("6 * 7").result == "42"
                wait = time.monotonic() - began
            except RuntimeError:
                wait = float("nan")  # it was not let in
            grown = resident(flooded) - memory
    used = under[0].ours / seconds
    return f"{what:15}{kept(burst):12.3f}{kept(under):12.3f}{used:12.3f}{wait:12.2f}{grown:12.1f}"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    print("Throughput of a program under a flood, as a part of that without; while it lasts, the")
    print(
        "seconds that another client waits for its first cell; the memory that it costs, in MB.\n"
    )
    headings = ("first 2 s", "after 10 s", "used", "client", "memory")
    print(f"{'flood of':15}" + "".join(f"{heading:>12}" for heading in headings))
    for what in sys.argv[2:] or FLOODS:
        print(cost(what, seconds), flush=True)


if __name__ == "__main__":
    main()
