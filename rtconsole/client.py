"""One connection to one process, over jupyter_client: for a question, a cell, its output.

Everything here talks to a kernel that somebody else started and that goes on without us:
nothing in this module ever sends a shutdown_request. Connecting to a dormant process wakes
it. jupyter_client and zmq are imported when a connection is made, so that commands that
make none do not pay for them.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .connection import printable
from .errors import Gone, NoAnswer, NoConsole

# Seconds: how often a subscription is asked for that was not confirmed, how often a waiting
# question looks whether the process is still there, and how long to wait for a first answer
# (a kernel that boots beside a busy program takes its time).
_NUDGE = 0.5
_GLANCE = 0.25
FIRST_ANSWER = 30.0


def program_of(info: dict[str, Any]) -> str:
    """Return what a person calls the program of a connection file: ``counter.py``.

    Printable: it is the program's own word, and a terminal's where it is shown.
    """
    name = str(info.get("kernel_name") or "python")
    return printable(name.removesuffix(f" ({pid_of(info)})")) or "python"


def pid_of(info: dict[str, Any]) -> int:
    """Return the process's pid, or 0 where the file does not say."""
    return int((info.get("rtconsole") or {}).get("pid") or 0)


def local_pid(info: dict[str, Any]) -> int:
    """Return the pid if the process is on this machine, else 0.

    The section ``rtconsole`` of a forwarded connection names its ``host``.
    """
    return 0 if (info.get("rtconsole") or {}).get("host") else pid_of(info)


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None if there is none.

    pidfd_open(2), Linux 5.3.

    Raises:
        ProcessLookupError: the process is gone already.
    """
    if not pid or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


# -- a question, a cell ------------------------------------------------------------------


class _Exchange:
    """Sockets to one kernel, for as long as one command needs them. Not asynchronous."""

    def __init__(self, info: dict[str, Any], timeout: float | None) -> None:
        import zmq
        from jupyter_client import BlockingKernelClient

        self.info = info
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._poller = zmq.Poller()
        self._context = zmq.Context()
        # the client's own stop_channels would first open every channel there is
        self.client = BlockingKernelClient(context=self._context)
        self.client.load_connection_info(
            {k: v for k, v in info.items() if k not in ("rtconsole", "kernel_name")}
        )
        try:
            self._pidfd = open_pidfd(local_pid(info))
        except ProcessLookupError:
            self._context.term()
            raise self.gone() from None

    def close(self) -> None:
        self._context.destroy(linger=100)
        if self._pidfd is not None:
            os.close(self._pidfd)

    def gone(self) -> Gone:
        return Gone(f"{program_of(self.info)} ({pid_of(self.info)}) has ended")

    def no_answer(self) -> NoAnswer:
        return NoAnswer(f"{program_of(self.info)} ({pid_of(self.info)}) does not answer")

    def channel(self, name: str) -> Any:
        return getattr(self.client, f"{name}_channel")

    def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        """Send a request and return its id."""
        message = self.client.session.msg(msg_type, content)
        self.channel(channel).send(message)
        return str(message["header"]["msg_id"])

    def receive(self, channels: list[str], patience: float) -> list[tuple[str, dict[str, Any]]]:
        """Return the messages that are there, waiting at most ``patience`` seconds for one.

        Raises:
            NoAnswer: the exchange's time is over.
            Gone: the process has ended and nothing of it is left to be read.
        """
        import zmq

        if self.deadline is not None:
            patience = min(patience, self.deadline - time.monotonic())
            if patience <= 0:
                raise self.no_answer()
        sockets = {self.channel(name).socket: name for name in channels}
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)
        ended = False
        until = time.monotonic() + patience
        while True:
            left = max(0.0, until - time.monotonic())
            found = self._poller.poll(int(min(left, _GLANCE) * 1000) + 1)
            messages = []
            for socket, _ in found:
                # what cannot be read is dropped: not signed with our key, or no message
                with suppress(ValueError, TypeError, KeyError):
                    messages.append((sockets[socket], self.channel(sockets[socket]).get_msg()))
            if messages:
                return messages
            if ended:
                raise self.gone()
            if left == 0:
                return []
            # after the end one more look: the last words may have come in between
            ended = self._pidfd is not None and bool(select.select([self._pidfd], [], [], 0)[0])

    def subscribe(self) -> None:
        """Return when the kernel is known to send us its iopub messages.

        Raises:
            NoAnswer, Gone: see :meth:`receive`.
        """
        kept, self.deadline = self.deadline, self.deadline or time.monotonic() + FIRST_ANSWER
        while True:
            # what it is answered with on iopub, if nothing came by itself, tells us
            self.send("control", "kernel_info_request", {})
            if any(name == "iopub" for name, _ in self.receive(["iopub"], _NUDGE)):
                self.deadline = kept
                return


@contextmanager
def _exchange(info: dict[str, Any], timeout: float | None) -> Iterator[_Exchange]:
    exchange = _Exchange(info, timeout)
    try:
        yield exchange
    finally:
        exchange.close()


def request(
    info: dict[str, Any], channel: str, msg_type: str, content: dict[str, Any], timeout: float
) -> dict[str, Any]:
    """Ask one question and return the reply's content.

    Args:
        info: what the connection file says.
        channel: ``shell`` (waits for the running cell) or ``control`` (does not).
        msg_type: as in the Jupyter protocol, ``kernel_info_request``.
        timeout: seconds.

    Raises:
        NoAnswer: none came in time.
        NoConsole: there is no kernel, and somebody who says why.
        Gone: the process ended.
    """
    with _exchange(info, timeout) as exchange:
        request_id = exchange.send(channel, msg_type, content)
        while True:
            for _, message in exchange.receive([channel], timeout):
                if message["parent_header"].get("msg_id") == request_id:
                    return _of_a_kernel(info, message["content"])


def follow(
    info: dict[str, Any],
    on_kept: Callable[[list[tuple[str, str]]], None],
    on_text: Callable[[str, str], None],
    is_over: Callable[[], bool],
) -> None:
    """Follow what the program prints, until it ends.

    Args:
        on_kept: called first, once, with what was kept: (``stdout`` or ``stderr``, text).
        on_text: called with stream and text of all that comes.
        is_over: looked at some times a second; true ends it.

    Raises:
        NoAnswer: nothing came at all.
        Gone: the process ended.
        NoConsole: see :func:`request`.
    """
    with _exchange(info, None) as exchange:
        # Its kernel_info_request has the program's output held back for a moment, in which
        # we ask for what was kept: nothing comes twice, or not at all.
        exchange.subscribe()
        request_id = exchange.send("control", "kept_request", {})
        began = time.monotonic()
        answered = live = False
        waiting: list[tuple[str, str]] = []
        while not is_over():
            if not answered and time.monotonic() - began > FIRST_ANSWER:
                raise exchange.no_answer()
            for name, message in exchange.receive(["iopub", "control"], _GLANCE):
                content, kind = message["content"], message["msg_type"]
                ours = message["parent_header"].get("msg_id") == request_id
                about = message["metadata"].get("rtconsole", {})
                if name == "control" and ours:
                    answered = True
                    _of_a_kernel(info, content)
                    on_kept([(stream, text) for stream, text in content["kept"]])
                    for stream, text in waiting:
                        on_text(stream, text)
                elif kind == "status" and ours:
                    live = True  # what came before is among what was kept
                elif kind == "stream" and live and about.get("origin") == "program":
                    if about.get("kept"):  # shown to newcomers by itself; we have asked for it
                        continue
                    if answered:
                        on_text(content["name"], content["text"])
                    else:
                        waiting.append((content["name"], content["text"]))


def execute(
    info: dict[str, Any],
    code: str,
    on_output: Callable[[str, dict[str, Any]], None],
    timeout: float | None = None,
) -> dict[str, Any]:
    """Run a cell and return the content of its execute_reply.

    Args:
        on_output: called for each of the cell's iopub messages with its type (``stream``,
            ``execute_result``, ``display_data``, ``error``...) and its content.
        timeout: seconds for all of it; None waits as long as the cell runs. A kernel that
            says nothing at all is given up after :data:`FIRST_ANSWER` seconds.

    Raises:
        NoAnswer: it took longer; the cell may still run.
        NoConsole: see :func:`request`.
        Gone: the process ended.
    """
    with _exchange(info, timeout) as exchange:
        exchange.subscribe()
        content = {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        request_id = exchange.send("shell", "execute_request", content)
        reply: dict[str, Any] | None = None
        idle = False
        while reply is None or not idle:
            for name, message in exchange.receive(["iopub", "shell"], FIRST_ANSWER):
                if message["parent_header"].get("msg_id") != request_id:
                    continue
                if name == "shell":
                    reply = dict(message["content"])
                elif message["msg_type"] == "status":
                    idle = idle or message["content"]["execution_state"] == "idle"
                else:
                    on_output(message["msg_type"], message["content"])
        return _of_a_kernel(info, reply)


def _of_a_kernel(info: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a reply, unless it only says why there is no kernel: NoConsole."""
    if reason := (content.get("rtconsole") or {}).get("absent"):
        raise NoConsole(f"{program_of(info)} ({pid_of(info)}) has no console: {printable(reason)}")
    return dict(content)
