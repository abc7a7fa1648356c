"""Programs and clients for the tests: real processes, real sockets, deadlines for all waits."""

import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client import BlockingKernelClient

EXAMPLES = Path(__file__).parent.parent / "examples"

# Seconds for anything that happens at once when nothing is wrong; machines are shared.
PATIENCE = 30.0


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return the first true value of ``condition``, looked at again and again.

    Raises:
        AssertionError: it was not true within ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(0.005)
    return value


class Reply(NamedTuple):
    """What a cell came to."""

    status: str
    stdout: str
    stderr: str
    result: str | None
    error: str | None
    traceback: str
    payload: list[dict[str, Any]]
    messages: list[dict[str, Any]]


class Client:
    """A Jupyter client, as others wrote it."""

    def __init__(self, connection_file: Path) -> None:
        self.kernel = BlockingKernelClient()
        self.kernel.load_connection_file(str(connection_file))
        self.kernel.start_channels()

    def ready(self) -> "Client":
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.kernel.wait_for_ready(timeout=PATIENCE)
                return self
            except RuntimeError as error:
                # a client that is starved on a busy machine takes the kernel for dead
                if "died" not in str(error) or time.monotonic() > deadline:
                    raise

    def close(self) -> None:
        # A heartbeat that is stopped before it has begun goes on, and makes sockets until there are
        # no more (jupyter_client's channels.py sets `_running` last)
        heart = self.kernel.hb_channel
        wait_for(lambda: heart._running or not heart.is_alive(), "the heartbeat to begin")
        self.kernel.stop_channels()

    def send(self, code: str, **options: Any) -> str:
        """Ask for ``code`` to be run and return the request's id."""
        message_id: str = self.kernel.execute(textwrap.dedent(code), **options)
        return message_id

    def send_to(self, shell: str | None, code: str, **content: Any) -> str:
        """Likewise in a subshell, or in the main shell for None; ``content`` is the request's."""
        asked = {"code": textwrap.dedent(code), "silent": False, **content}
        message = self.kernel.session.msg("execute_request", asked)
        if shell is not None:
            message["header"]["subshell_id"] = shell
        self.kernel.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, patience: float = PATIENCE, **options: Any) -> Reply:
        """Run a cell and return what it came to."""
        return self.finish(self.send(code, **options), patience)

    def finish(
        self,
        message_id: str,
        patience: float = PATIENCE,
        see: Callable[[dict[str, Any]], object] = id,
    ) -> Reply:
        """Wait for the end of a request that was sent; ``see`` is shown all that comes."""
        streams = {"stdout": "", "stderr": ""}
        messages: list[dict[str, Any]] = []
        result = None
        deadline = time.monotonic() + patience
        while True:
            message = self.kernel.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            see(message)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            messages.append(message)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                streams[content["name"]] += content["text"]
            elif kind == "execute_result":
                result = content["data"]["text/plain"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        reply = self.shell_reply(message_id)
        return Reply(
            status=reply["status"],
            stdout=streams["stdout"],
            stderr=streams["stderr"],
            result=result,
            error=reply.get("ename"),
            traceback="\n".join(reply.get("traceback", [])),
            payload=reply.get("payload", []),
            messages=messages,
        )

    def shell_reply(self, message_id: str) -> dict[str, Any]:
        while True:
            message = self.kernel.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                content: dict[str, Any] = message["content"]
                return content

    def control(self, kind: str, **content: Any) -> dict[str, Any]:
        """Send a request on the control channel and return the reply's content."""
        message = self.kernel.session.msg(kind, content)
        self.kernel.control_channel.send(message)
        while True:
            reply = self.kernel.get_control_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                answer: dict[str, Any] = reply["content"]
                return answer

    def interrupt(self) -> None:
        assert self.control("interrupt_request")["status"] == "ok"

    def value(self, expression: str) -> Any:
        """Evaluate an expression of literals in the program."""
        reply = self.run(f"print(repr({expression}))")
        assert reply.status == "ok", reply
        return eval(reply.stdout)

    def iopub(self, kind: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next iopub message of a kind."""
        deadline = time.monotonic() + patience
        while True:
            message = self.kernel.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["msg_type"] == kind:
                return message  # type: ignore[no-any-return]

    def is_silent(self, patience: float) -> bool:
        try:
            self.kernel.get_iopub_msg(timeout=patience)
        except queue.Empty:
            return True
        return False


class Program:
    """A Python process with files for its output, and a console in it if all is well."""

    def __init__(self, home: Path, argv: list[str], env: dict[str, str], **options: Any) -> None:
        options.setdefault("stdin", subprocess.DEVNULL)
        self.home = home
        number = len(list(home.glob("*.out")))
        self.stdout_file = home / f"{number}.out"
        self.stderr_file = home / f"{number}.err"
        self.debug_log = Path(env.get("RTCONSOLE_DEBUG", "/nonexistent"))
        self.env = env
        with self.stdout_file.open("wb") as out, self.stderr_file.open("wb") as err:
            self.process = subprocess.Popen(argv, env=env, stdout=out, stderr=err, **options)
        self.pid = self.process.pid

    @property
    def runtime_dir(self) -> Path:
        return Path(self.env["HOME"]) / ".local/share/jupyter/runtime"

    def connection_file_of(self, pid: int) -> Path:
        return self.runtime_dir / f"kernel-rt-{pid}.json"

    @property
    def connection_file(self) -> Path:
        """The process's connection file, waited for."""
        path = self.connection_file_of(self.pid)
        wait_for(lambda: path.exists() or self.process.poll() is not None, f"{path}")
        assert path.exists(), f"ended with {self.process.returncode}: {self.describe()}"
        return path

    @property
    def info(self) -> dict[str, Any]:
        return json.loads(self.connection_file.read_text())  # type: ignore[no-any-return]

    @contextmanager
    def client(self, ready: bool = True) -> Iterator[Client]:
        client = Client(self.connection_file)
        try:
            yield client.ready() if ready else client
        finally:
            client.close()

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text()

    def wait_for_output(self, text: str) -> None:
        def seen() -> bool:
            return text in self.stdout or self.process.poll() is not None

        wait_for(seen, repr(text))
        assert text in self.stdout, self.describe()

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the process's end and return its exit status."""
        return self.process.wait(patience)

    def task_folders(self) -> list[Path]:
        """The folder of each thread under /proc."""
        return sorted(Path(f"/proc/{self.pid}/task").iterdir())

    def rests(self) -> bool:
        """Tell whether no thread but the main one runs, for a tenth of a second."""
        before = self._switches()
        time.sleep(0.1)
        return before is not None and self._switches() == before

    def _switches(self) -> list[str] | None:
        """Return how often the other threads were switched from (proc(5)); None if one runs."""
        try:
            tasks = [task for task in self.task_folders() if task.name != str(self.pid)]
            lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
        except (FileNotFoundError, ProcessLookupError):  # one has just ended
            return None
        runs = any(line.startswith("State:\tR") for line in lines)
        return None if runs else [line for line in lines if "voluntary" in line]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    @property
    def log(self) -> str:
        """What the debug log says so far."""
        return self.debug_log.read_text() if self.debug_log.is_file() else ""

    def describe(self) -> str:
        """What the process printed and what the debug log says, for a failed test's report."""
        return (
            f"pid {self.pid} exit status {self.process.poll()}\n"
            f"--- stdout ---\n{self.stdout}\n--- stderr ---\n{self.stderr}\n--- log ---\n{self.log}"
        )


class Launcher:
    """Starts programs in a home of their own, and ends them when the test is over."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs: list[Program] = []
        self.sockets = home / "run"
        self.sockets.mkdir(mode=0o700)

    def environment(self, **changes: str | None) -> dict[str, str]:
        """The environment of a program: ours without what would change what is tested."""
        dropped = ("PYTHON", "JUPYTER", "RTCONSOLE", "XDG_", "COV_", "PYTEST", "IPYTHON")
        env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        env.update(
            HOME=str(self.home),
            XDG_RUNTIME_DIR=str(self.sockets),
            RTCONSOLE="1",
            RTCONSOLE_DEBUG=str(self.home / "debug.log"),
        )
        for name, value in changes.items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        return env

    def script(self, source: str, name: str = "program.py") -> Path:
        """Write a script and return its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(source)
        # not again while a program that was just started is about to read it
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def __call__(
        self,
        source: str | Path | None = None,
        *arguments: str,
        python: list[str] | None = None,
        env: dict[str, str | None] | None = None,
        name: str = "program.py",
        **options: Any,
    ) -> Program:
        """Start a program.

        Args:
            source: its text, or the path of a script; nothing if the arguments say it all.
            python: the interpreter and its options.
            env: changes to the environment.
        """
        argv = [*(python or [sys.executable])]
        if isinstance(source, str):
            source = self.script(source, name)
        if source is not None:
            argv.append(str(source))
        program = Program(
            self.home, [*argv, *arguments], self.environment(**(env or {})), **options
        )
        self.programs.append(program)
        return program
