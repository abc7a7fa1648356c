"""Programs that do what they are told, and what clients see of their output."""

import os
import queue
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import PATIENCE, Client, Launcher, Program, Reply, wait_for

# Takes orders on stdin, in the main thread and at no other time: not as cells, since what
# is told then must hold when no cell runs. Reports each with the value of `answer`.
OBEDIENT = """
import os, sys, threading, time
reports = os.open("reports", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
{before}
os.write(reports, b"None\\n")
while order := sys.stdin.readline():
    answer = None
    exec(compile(eval(order), "order", "exec"), globals())
    os.write(reports, ascii(answer).encode() + b"\\n")
"""


# Before, the interpreter loses text when threads write to one stream, and what is written to
# its buffer cannot be shown: python/cpython#119506.
BUFFERS_ARE_SAFE = (3, 11, 10) <= sys.version_info < (3, 12) or sys.version_info >= (3, 12, 4)


class Obedient:
    """A program that does what it is told.

    Args:
        before: what it does first.
        shell: redirections for its start, as a shell has them.
    """

    def __init__(
        self,
        launch: Launcher,
        before: str = "",
        shell: str = "",
        env: dict[str, str | None] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        python = [sys.executable, *options]
        if shell:
            python = ["/bin/sh", "-c", f'exec "$0" "$@" {shell}', *python]
        self._folder = launch.home / f"obedient{len(launch.programs)}"
        self._folder.mkdir()
        self._reports = 0
        self.program: Program = launch(
            OBEDIENT.format(before=textwrap.dedent(before)),
            python=python,
            env=env,
            cwd=self._folder,
            stdin=subprocess.PIPE,
            name=f"{self._folder.name}.py",
        )
        self._report()

    def tell(self, order: str) -> None:
        """Have it do something, and do not wait for the end of that."""
        stdin: Any = self.program.process.stdin
        stdin.write(f"{textwrap.dedent(order)!a}\n".encode())
        stdin.flush()

    def do(self, order: str) -> Any:
        """Have it do something and return the value that it gave to ``answer``."""
        self.tell(order)
        return self._report()

    def _report(self) -> Any:
        path = self._folder / "reports"

        def lines() -> list[str]:
            was_running = self.program.is_running()  # before: it may report, and end at once
            lines = path.read_text().split("\n")[:-1] if path.exists() else []
            if len(lines) <= self._reports:
                assert was_running, self.program.describe()
            return lines[self._reports :]

        line: str = wait_for(lines, "a report")[0]
        self._reports += 1
        return eval(line)

    def end(self) -> int:
        """Let it end, and return its exit status."""
        stdin: Any = self.program.process.stdin
        stdin.close()
        return self.program.wait()


class Watch:
    """What one client sees of the program's output.

    Attributes:
        messages: stream messages of the program, in order.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.messages: list[dict[str, Any]] = []

    def _take(self, message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and is_of_program(message):
            self.messages.append(message)

    def look(self, patience: float) -> bool:
        """Take one more message; tell whether there was one."""
        try:
            message = self.client.kernel.get_iopub_msg(timeout=patience)
        except queue.Empty:
            return False
        self._take(message)
        return True

    def run(self, code: str) -> Reply:
        """Run a cell, and miss nothing of the program meanwhile."""
        return self.finish(self.client.send(code))

    def value(self, expression: str) -> Any:
        """Evaluate an expression of literals in the program, likewise."""
        return eval(self.run(f"print(repr({expression}))").stdout)

    def finish(self, request: str) -> Reply:
        """Wait for the end of a cell, likewise."""
        return self.client.finish(request, see=self._take)

    def text(self, stream: str = "stdout") -> str:
        parts = [m["content"]["text"] for m in self.messages if of(m) == stream]
        return "".join(parts)

    def wait_for(self, text: str, stream: str = "stdout", patience: float = PATIENCE) -> str:
        """Take messages until ``text`` has been seen, and return all that stream's text."""
        deadline = time.monotonic() + patience
        if text in self.text(stream):
            return self.text(stream)
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {text!r} and saw {self.text(stream)[-1000:]!r}"
            seen = len(self.messages)
            self.look(min(left, 0.5))
            if len(self.messages) > seen and text in self._end(stream, len(text)):
                return self.text(stream)

    def _end(self, stream: str, size: int) -> str:
        """Return the last message of a stream, and at least ``size`` characters before it."""
        parts: list[str] = []  # the last one first; a line may come in any number of messages
        for message in reversed(self.messages):
            if of(message) == stream:
                parts.append(message["content"]["text"])
                size -= len(parts[-1]) if len(parts) > 1 else 0
                if size <= 0:
                    break
        return "".join(reversed(parts))


def of(message: dict[str, Any]) -> str:
    name: str = message["content"]["name"]
    return name


def is_of_program(message: dict[str, Any]) -> bool:
    origin: dict[str, Any] = message["metadata"].get("rtconsole", {})
    return origin.get("origin") == "program"


@contextmanager
def watching(program: Program) -> Iterator[Watch]:
    """Attach a client and watch; when the block begins, the mirror is set up."""
    with program.client() as client:
        client.run("")
        yield Watch(client)


# A client in a process of its own: attaches, says so, and writes what it sees of the
# program's output up to the end that the program says.
LOYAL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from harness import Client
client = Client(Path(sys.argv[1])).ready()
client.run("")
print("ready", flush=True)
text = ""
while "the end\\n" not in text[-1000:]:
    message = client.kernel.get_iopub_msg(timeout=60)
    if message["metadata"].get("rtconsole", {}).get("origin") == "program":
        text += message["content"]["text"]
sys.stdout.write(text)
"""


@contextmanager
def loyal(launch: Launcher, program: Program) -> Iterator["subprocess.Popen[bytes]"]:
    """Attach a client in a process of its own."""
    client = subprocess.Popen(
        [sys.executable, "-c", LOYAL, str(program.connection_file), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        env=launch.environment(RTCONSOLE=None),
    )
    try:
        assert client.stdout
        assert client.stdout.readline() == b"ready\n"
        yield client
    finally:
        client.kill()
        client.communicate()


def as_found(obedient: Obedient) -> bool:
    """Tell whether the program's streams carry nothing of ours."""
    answer: bool = obedient.do(
        """
        answer = all(
            getattr(sys, name) is getattr(sys, f"__{name}__")
            and not {"write", "flush", "tell"} & set(vars(getattr(sys, name)))
            and "write" not in vars(getattr(sys, name).buffer)
            for name in ("stdout", "stderr")
        )
        """
    )
    return answer


def flood(lines: str = "2**62") -> str:
    """Return the source of ``flood()``: numbered lines, and ``printed``, how many there were."""
    return textwrap.dedent(
        f"""
        import threading, time
        printed = 0
        stop = threading.Event()
        lock = threading.Lock()  # for who forks: one must not in the middle of a print
        def flood():
            global printed
            for n in range({lines}):
                if stop.is_set(): break
                with lock: print("line", n)
                printed = n + 1
        """
    )


def memory(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
