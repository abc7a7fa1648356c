"""Watches the process: that it ended, replaced itself, or does not answer, and what to say.

The program's end is told by the system (pidfd), a stopped process by the heartbeat, which
libzmq answers. Whether the interpreter still turns can only be asked: now and then, and more
often while somebody waits for a reply.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from rtconsole.client import open_pidfd, pid_of, program_of
from rtconsole.conversation import Connection

_TICK = 0.5
_SILENT = 2.5  # seconds without a heartbeat, of which there is one a second
_STUCK = 2.5  # seconds without an answer to a question
_QUESTION = 2.0  # seconds between two questions while nobody waits for anything
_RECONNECT = 1.5  # a program that closed our sockets makes them anew; seconds to wait for it
_GOODBYE = 3.0  # between a kernel's notice that it goes and the process's end

_SILENCE = "does not answer"


class Watch:
    """Follows one process.

    Attributes:
        is_waiting: tells whether somebody waits for a reply.
        is_greeted: the process has answered; a kernel that boots may be silent for long.
    """

    def __init__(
        self,
        connection: Connection,
        pid: int,
        file: Path | None,
        say: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> None:
        """
        Args:
            pid: the process on this machine; 0 if it is on another one.
            file: the connection file, where it is known.
            say: told of what comes and goes.
            ended: called once, when there is nothing more to talk to, with what to say.
        """
        self._connection = connection
        self._file = file
        self._say = say
        self._ended = ended
        self.is_waiting: Callable[[], bool] = lambda: False
        self.is_greeted = False
        self.name = f"{program_of(connection.info)} ({pid or pid_of(connection.info)})"
        self._pid = pid
        self._image = _image_of(self._pid)
        self._over = False
        self._down_since: float | None = None
        self._back_since = 0.0
        self._goodbye: float | None = None
        self._trouble = False
        self._asked: tuple[float, asyncio.Future[dict[str, object]] | None] = (0.0, None)
        connection.on_link = self._on_link

    def on_goodbye(self) -> None:
        """The kernel said that it goes away."""
        self._goodbye = self._goodbye or time.monotonic()

    async def run(self) -> None:
        """Watch until the process ends."""
        loop = asyncio.get_running_loop()
        try:
            pidfd = open_pidfd(self._pid)
        except ProcessLookupError:
            self._end("has ended")
            return
        if pidfd is not None:
            loop.add_reader(pidfd, lambda: self._end(_exit_of(self._pid)))
        try:
            while not self._over:
                before = time.monotonic()
                await asyncio.sleep(_TICK)
                # late ourselves, for a slow terminal say: what came meanwhile is not read yet
                if time.monotonic() - before < 2 * _TICK:
                    self._look()
        finally:
            if pidfd is not None:
                loop.remove_reader(pidfd)
                os.close(pidfd)

    def _end(self, what: str) -> None:
        if not self._over:
            self._over = True
            self._ended(f"{self.name} {what}")

    def _on_link(self, up: bool) -> None:
        if not up:  # and again at each attempt, where ssh takes the connection for a dead process
            self._down_since = self._down_since or time.monotonic()
        elif self._down_since is not None:
            self._down_since = None
            self._back_since = time.monotonic()

    def _look(self) -> None:
        now = time.monotonic()
        if self._goodbye is not None and now - self._goodbye > _GOODBYE:
            self._end("has closed its console")
        elif self._down_since is not None:
            if self._is_replaced():
                self._end(self._by_what())
            elif now - self._down_since > _RECONNECT:
                lost = "has ended, or the connection to its machine has"
                self._end("has closed its console" if self._pid else lost)
        # the file is written after the sockets are bound: look more than once
        elif now - self._back_since < _RECONNECT and self._is_replaced():
            self._end(self._by_what())
        elif now - self._connection.last_beat > _SILENT:
            why = _why_silent(self._pid)
            if self.is_greeted or why != _SILENCE:
                self._complain(why)
        elif self._is_stuck(now):
            self._complain("does not answer: something in it holds the interpreter (the GIL)")
        elif self._trouble:
            self._trouble = False
            self._say(f"{self.name} answers again")

    def _complain(self, what: str) -> None:
        if not self._trouble:
            self._trouble = True
            self._say(f"{self.name} {what}")

    def _is_stuck(self, now: float) -> bool:
        """Ask a small question, and tell whether the answer to the last one is late."""
        began, answer = self._asked
        if answer is not None and not answer.done():
            return now - began > _STUCK
        if self.is_greeted and (self.is_waiting() or now - began > _QUESTION):
            self._asked = now, self._connection.send("control", "connect_request", {})[1]
        return False

    def _is_replaced(self) -> bool:
        """Tell whether the process runs another program by now, which has no or another key."""
        if self._pid and _image_of(self._pid) not in (self._image, ""):
            return True
        if self._file is None:
            return False
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return False
        return bool(found.get("key") != self._connection.info.get("key"))

    def _by_what(self) -> str:
        return (
            f"has replaced itself (exec) by: {_command_of(self._pid)}\n"
            f"If that has a console, too: rtconsole attach {self._pid}"
        )


def _stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on, proc(5); [] elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def _image_of(pid: int) -> str:
    """Return what is another one after an exec: the address of the stack, 28 in proc(5).

    Not the command line, which a program may change.
    """
    fields = _stat_of(pid)
    return fields[25] if len(fields) > 25 else ""


def _command_of(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _why_silent(pid: int) -> str:
    if _stat_of(pid)[:1] in (["T"], ["t"]):
        return f"is stopped (SIGSTOP or a debugger); kill -CONT {pid} lets it go on"
    return _SILENCE


def _exit_of(pid: int) -> str:
    """Return how the process ended, which can be read as long as nobody has waited for it."""
    fields = _stat_of(pid)
    if fields[:1] != ["Z"] or len(fields) < 50:
        return "has ended"
    code = os.waitstatus_to_exitcode(int(fields[49]))
    if code >= 0:
        return f"has ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
