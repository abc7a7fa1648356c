"""Programs and kernels to measure: started in the environment that most users have.

What is started here keeps its compiled files (PYTHONDONTWRITEBYTECODE is dropped), writes
no debug log, and has a short home folder in which one program was started before, so that
no measured start makes folders.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from harness import PATIENCE, Launcher, Program
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

BARE: dict[str, str | None] = {"RTCONSOLE": None}

# Runs until it is ended, and does nothing.
QUIET = "import time\nwhile True: time.sleep(60)"


class Usual(Launcher):
    """A launcher whose programs see no variable but the usual ones."""

    def environment(self, **changes: str | None) -> dict[str, str]:
        unusual = dict.fromkeys(("RTCONSOLE_DEBUG", "TMPDIR", "XDG_RUNTIME_DIR"))
        return super().environment(**{**unusual, **changes})

    def kernel(self, *options: str) -> tuple[Program, Path]:
        """Start plain ipykernel; return it and its connection file.

        On Unix sockets, as a console's are.
        """
        number = len(self.programs)
        path = self.home / f"plain-{number}.json"
        write_connection_file(str(path), transport="ipc", ip=str(self.home / f"plain-{number}"))
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", str(path), *options]
        return self(python=argv, env=BARE), path

    def end_all(self) -> None:
        """End what runs and remove what it leaves behind."""
        for program in self.programs:
            program.stop()
        self.programs.clear()
        # a process that ends by os._exit cannot remove its sockets
        for path in (self.home / ".local/share/jupyter/runtime").glob("kernel-rt-*.json"):
            info = json.loads(path.read_text())
            for name in ("shell", "iopub", "stdin", "control", "hb"):
                Path(f"{info['ip']}-{info[f'{name}_port']}").unlink(missing_ok=True)
            path.unlink()


@contextmanager
def usual_launcher() -> Iterator[Usual]:
    """A launcher with a home of its own, short enough for sockets; all gone at the end."""
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    launch = Usual(home)
    try:
        launch("pass").wait()
        yield launch
    finally:
        launch.end_all()
        shutil.rmtree(home, ignore_errors=True)


def connect(connection_file: Path) -> BlockingKernelClient:
    """Return a client with its channels open, whether or not the kernel listens yet."""
    client = BlockingKernelClient()
    # libzmq's 100 ms would be added to the start of a plain kernel, by chance or in full
    client.context.setsockopt(zmq.RECONNECT_IVL, 2)
    client.load_connection_file(str(connection_file))
    client.start_channels()
    return client


def wait_for_info(client: BlockingKernelClient) -> None:
    """Ask for the kernel's info, once, and wait for the reply."""
    request = client.kernel_info()
    while client.get_shell_msg(timeout=PATIENCE)["parent_header"].get("msg_id") != request:
        pass


def seconds_to_first_reply(connection_file: Path) -> float:
    """Connect, ask, leave; return the seconds until the reply was there."""
    started = time.perf_counter()
    client = connect(connection_file)
    try:
        wait_for_info(client)
        return time.perf_counter() - started
    finally:
        client.stop_channels()


def numbers(program: Program) -> Any:
    """Wait for the program's end and return the JSON value that its last line is."""
    assert program.wait() == 0, program.describe()
    return json.loads(program.stdout.splitlines()[-1])
