"""Who ran what: a line for each cell in RTCONSOLE_AUDIT, and Python's audit event.

What cannot be written down is not run: the cell is refused, with the reason. The program never
sees any of this, except in an audit hook of its own (``sys.addaudithook``), which is asked
first and refuses a cell by raising.
"""

import _socket
import contextlib
import contextvars
import json
import os
import socket
import sys
import time
from typing import Any, NamedTuple

from rtconsole import debuglog, descriptors
from rtconsole.debuglog import system

from .peers import Peer

EVENT = "rtconsole.execute"

# Characters of code in one syslog message: escaped they still fit into the 8 KB that
# rsyslog takes; what is longer comes in parts.
_PART = 1200
_SYSLOG = "/dev/log"
_PRIORITY = 10 * 8 + 6  # RFC 3164: authpriv, informational

_encode = json.JSONEncoder().encode  # not json.dumps, which a test may replace


class Refused(Exception):
    """A cell is not to be run; the message says why, for whoever sent it."""


class Request(NamedTuple):
    """A cell that somebody wants to run.

    Attributes:
        code: as it was sent.
        expressions: the request's ``user_expressions``, which are run as well.
        silent: whether it asks for no output and no history.
    """

    code: str
    expressions: dict[str, Any]
    silent: bool
    peer: Peer


class Audit:
    """The audit of one kernel. May be used from any thread."""

    def __init__(self, destination: str, program: str) -> None:
        """
        Args:
            destination: an absolute path, ``syslog`` or ``syslog:/path/of/its/socket``; or
                empty, for the audit event alone.
            program: what the program is called.
        """
        self._destination = destination
        self._program = program
        self._torn = False

    def run(self, request: Request) -> None:
        """Ask the program's audit hooks, then write that the cell is run.

        Raises:
            Refused: a hook raised, or the line could not be written.
        """
        try:
            for code in (request.code, *map(str, request.expressions.values())):
                # in a context of its own, where what a hook prints is the program's
                event = EVENT, code, request.peer.uid, request.peer.pid
                contextvars.Context().run(sys.audit, *event)
        except BaseException as error:  # whatever it is, it means no
            reason = f"an audit hook of the program: {type(error).__name__}: {error}"
            self.refused(request, reason)
            raise Refused(reason) from None
        try:
            self._write(request, {})
        except Exception as error:  # a full disk, a folder that is gone, a name no codec knows
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Refused(f"the audit log {self._destination} cannot be written: {text}") from None

    def refused(self, request: Request, reason: str) -> None:
        """Write that a cell was not run, if that can be written."""
        try:
            self._write(request, {"refused": reason})
        except Exception:  # protects the client's answer: it is not run, and nothing goes unseen
            pass

    def _write(self, request: Request, outcome: dict[str, Any]) -> None:
        if not self._destination:
            return
        peer = request.peer
        record: dict[str, Any] = {
            "time": _now(),
            "pid": system.getpid(),
            "program": self._program,
            "uid": peer.uid,
            "user": _user(peer.uid),
            "client_pid": peer.pid,
            "silent": request.silent,
            **outcome,
        }
        if request.expressions:
            record["user_expressions"] = request.expressions
        kind, _, path = self._destination.partition(":")
        if kind == "syslog":
            self._send(path or _SYSLOG, record, request.code)
        else:
            self._append((_encode({**record, "code": request.code}) + "\n").encode())

    def _append(self, line: bytes) -> None:
        """Append to the file in one write; opened each time, so that it can be rotated.

        Raises:
            OSError: it cannot be written, or is not ours alone to write.
        """
        if not os.path.isabs(self._destination):
            raise OSError("it must be an absolute path, or syslog")
        fd = debuglog.open_to_append(self._destination)
        try:
            if self._torn:
                line = b"\n" + line
            written = system.write(fd, line)
            self._torn = written < len(line) and line[written - 1 : written] != b"\n"
            if written < len(line):
                raise OSError("no space left for the whole line")
        finally:
            system.close(fd)

    def _send(self, path: str, record: dict[str, Any], code: str) -> None:
        """Send to the system log; not with :mod:`syslog`, whose settings are the program's.

        Raises:
            OSError: nobody takes it.
        """
        parts = [code[at : at + _PART] for at in range(0, len(code), _PART)] or [""]
        stamp = time.strftime("%b %d %H:%M:%S")
        for number, part in enumerate(parts, start=1):
            if len(parts) > 1:
                record["part"] = [number, len(parts)]
            text = _encode({**record, "code": part})
            message = f"<{_PRIORITY}>{stamp} rtconsole[{system.getpid()}]: {text}".encode()
            release = descriptors.hold_streams()  # what the program writes would be in the log
            try:
                self._deliver(path, message)
            finally:
                release()

    def _deliver(self, path: str, message: bytes) -> None:
        if not hasattr(socket, "AF_UNIX"):  # Windows
            raise OSError("there is no syslog here")
        for kind, end in ((socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\0")):
            with contextlib.closing(_socket.socket(socket.AF_UNIX, kind)) as sock:
                sock.settimeout(1.0)  # a log that is stuck
                try:
                    sock.connect(path)
                except OSError as error:
                    import errno

                    if error.errno == errno.EPROTOTYPE and kind == socket.SOCK_DGRAM:
                        continue  # it is a stream, as in some containers
                    raise
                sock.sendall(message + end)
                return


def _now() -> str:
    """Return the time in UTC, ISO 8601; of the system, whatever a test of the program's froze."""
    clock = getattr(time, "clock_gettime", None)
    seconds = clock(time.CLOCK_REALTIME) if clock is not None else time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}Z"


_users: dict[int, str | None] = {}


def _user(uid: int | None) -> str | None:
    """Return a user's name, looked up once: it may be asked of another machine."""
    if uid is None:
        return None
    if uid not in _users:
        try:
            import pwd

            _users[uid] = pwd.getpwuid(uid).pw_name
        except (ImportError, KeyError, OSError):
            _users[uid] = None
    return _users[uid]
