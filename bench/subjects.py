"""The programs that print, side by side: bare, with a console, and with what else there is."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import zmq
from harness import PATIENCE
from jupyter_client import BlockingKernelClient
from programs import Usual, connect, wait_for_info

HERE = Path(__file__).parent
PROGRAM = HERE / "printing.py"
OUT_STREAM = "ipykernel OutStream"
# Also writes to where the stream led before, as a console does; by default it does not.
ECHO = "--IPKernelApp.quiet=False"
HISTORY: dict[str, str | None] = {"RTCONSOLE_HISTORY": "64k"}


class Subject:
    """A running ``printing.py``; call it with a function's name and arguments.

    Attributes:
        program: its process.
        iopub: a client's socket, on which its output comes; ``None`` if nobody listens.
    """

    def __init__(
        self, launch: Usual, env: dict[str, str | None] | None = None, *options: str
    ) -> None:
        """Start the program, or if ``env`` is ``None`` a plain ipykernel with it in a cell.

        Args:
            options: of that ipykernel.
        """
        path = str(launch.home / f"requests-{len(launch.programs)}")
        self.iopub: Any = None
        self._client: BlockingKernelClient | None = None
        with Listener(path) as listener:
            if env is not None:
                self.program = launch(PROGRAM, path, env=env)
            else:
                self.program, connection_file = launch.kernel(*options)
                self._open(connection_file)
                cell = f"import sys; sys.path.append({str(HERE)!r}); import printing"
                self._client.execute(f"{cell}; printing.serve({path!r})")
            self._requests = listener.accept()

    def ask(self, name: str, *arguments: Any) -> None:
        """Have a function called, and do not wait for it."""
        self._requests.send((name, arguments))

    def answer(self, patience: float = 2 * PATIENCE) -> Any:
        """Wait for what the function returns.

        Raises:
            Exception: what it raised.
        """
        assert self._requests.poll(patience), self.program.describe()
        found = self._requests.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def __call__(self, name: str, *arguments: Any) -> Any:
        self.ask(name, *arguments)
        return self.answer()

    def attach(self) -> "Subject":
        """Have a client that listens, and come back when it hears the program."""
        self._open(self.program.connection_file)
        return self

    def _open(self, connection_file: Path) -> None:
        self._client = connect(connection_file)
        wait_for_info(self._client)
        self.iopub = self._client.iopub_channel.socket
        self.iopub.rcvtimeo = int(PATIENCE * 1000)

    def outputs(self) -> Iterator[tuple[int, bytes]]:
        """Yield when a message came, in nanoseconds, and its content, until "over" is printed."""
        receive, now = self.iopub.recv_multipart, time.monotonic_ns
        while True:
            frames = receive()
            yield now(), frames[-1]
            if b"over\\n" in frames[-1]:
                return

    def hear(self) -> "Subject":
        """Come back when output arrives at once: at first it is held back for newcomers."""
        for _ in range(10):
            self("print_times", 1)
            for _ in self.outputs():
                pass
        return self

    def listen(self) -> None:
        """From now on receive all there is and forget it, in a thread."""
        self.hear()
        self.iopub.rcvtimeo = -1

        def forget() -> None:
            with contextlib.suppress(zmq.ZMQError):
                while True:
                    self.iopub.recv_multipart()

        threading.Thread(target=forget, daemon=True).start()

    def close(self) -> None:
        self._requests.close()
        self.program.stop()


class Places:
    """A file, a pipe and a terminal to print to; the latter two are read by ``cat``.

    A context manager, which ends the readers.
    """

    def __init__(self, folder: Path) -> None:
        file, pipe = folder / "file", folder / "pipe"
        file.touch()
        os.mkfifo(pipe)
        master, slave = os.openpty()
        self._open = [master, slave]
        self._paths = {"file": file, "pipe": pipe, "terminal": os.ttyname(slave)}
        # opened for reading and writing: no wait for a writer, no end of file
        self._readers = [self._cat(os.open(pipe, os.O_RDWR)), self._cat(master)]

    def _cat(self, descriptor: int) -> "subprocess.Popen[bytes]":
        self._open.append(descriptor)
        return subprocess.Popen(
            ["cat"], stdin=descriptor, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __getitem__(self, name: str) -> str:
        return str(self._paths[name])

    def __enter__(self) -> "Places":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.kill()
            reader.wait()
        for descriptor in set(self._open):
            os.close(descriptor)
