"""One connection to one process, over jupyter_client: for a question, a cell, or a person.

Everything here talks to a kernel that somebody else started and that goes on without us:
nothing in this module ever sends a shutdown_request. Connecting to a dormant process wakes
it. jupyter_client and zmq are imported when a connection is made, so that commands that
make none do not pay for them.
"""

import asyncio
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import Gone, NoAnswer

# Seconds: how often a subscription is asked for that was not confirmed, how often a waiting
# question looks whether the process is still there, and how long to wait for a first answer
# (a kernel that boots beside a busy program takes its time).
_NUDGE = 0.5
_GLANCE = 0.25
FIRST_ANSWER = 30.0


def program_of(info: dict[str, Any]) -> str:
    """Return what a person calls the program of a connection file: ``counter.py``."""
    name = str(info.get("kernel_name") or "python")
    return name.removesuffix(f" ({pid_of(info)})") or "python"


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
            if found:
                # get_msg drops what it cannot read: not signed with our key, not a message
                return [(sockets[s], self.channel(sockets[s]).get_msg()) for s, _ in found]
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
        Gone: the process ended.
    """
    with _exchange(info, timeout) as exchange:
        request_id = exchange.send(channel, msg_type, content)
        while True:
            for _, message in exchange.receive([channel], timeout):
                if message["parent_header"].get("msg_id") == request_id:
                    return dict(message["content"])


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
        return reply


# -- a person ----------------------------------------------------------------------------


class Connection:
    """All channels of one kernel, in an asyncio event loop, until closed.

    Attributes:
        on_iopub: called with each message of iopub.
        on_stdin: called with each input_request.
        on_link: called with True when the process's sockets were reached, with False when
            the process closed its end: it ended, replaced itself, or made them anew.
        last_beat: when the heartbeat was last answered, by ``time.monotonic``. The kernel
            answers it without the interpreter: only a stopped process misses it.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        import zmq
        from jupyter_client.asynchronous.client import AsyncKernelClient
        from zmq.asyncio import Context

        self.info = info
        self._context = Context()
        # Messages of a flood that may wait here. More wait in the kernel, which counts them
        # in bytes and says what it drops.
        self._context.setsockopt(zmq.RCVHWM, 100)
        self._client = AsyncKernelClient(context=self._context)
        self._client.load_connection_info(
            {k: v for k, v in info.items() if k not in ("rtconsole", "kernel_name")}
        )
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.on_iopub: Callable[[dict[str, Any]], None] = lambda message: None
        self.on_stdin: Callable[[dict[str, Any]], None] = lambda message: None
        self.on_link: Callable[[bool], None] = lambda up: None
        self.last_beat = time.monotonic()
        self._behind_since: float | None = None

    @property
    def lag(self) -> float:
        """For how many seconds iopub has had more to read than was read."""
        return 0.0 if self._behind_since is None else time.monotonic() - self._behind_since

    @property
    def session_id(self) -> str:
        """What tells our messages from those of other clients."""
        return str(self._client.session.session)

    def open(self) -> None:
        """Connect. Returns at once; a dormant process takes its time to answer."""
        for name in ("shell", "control"):
            self._start(self._read(name, self._on_reply))
        self._start(self._read("iopub", self._on_iopub))
        self._start(self._read("stdin", lambda message: self.on_stdin(message)))
        self._start(self._watch_link())
        self._start(self._beat())

    def _start(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def close(self) -> None:
        """Disconnect; the kernel goes on, and so does a cell that runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()
        self._context.destroy(linger=100)

    def send(
        self, channel: str, msg_type: str, content: dict[str, Any], subshell: str | None = None
    ) -> tuple[str, "asyncio.Future[dict[str, Any]]"]:
        """Send a request; return its id and a future of the reply's content.

        Args:
            subshell: the id of the kernel's subshell that is meant (JEP 91).
        """
        message = self._client.session.msg(msg_type, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        request_id = str(message["header"]["msg_id"])
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: self._waiting.pop(request_id, None))
        self._waiting[request_id] = future
        getattr(self._client, f"{channel}_channel").send(message)
        return request_id, future

    async def request(
        self,
        channel: str,
        msg_type: str,
        content: dict[str, Any],
        timeout: float,
        subshell: str | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the reply's content.

        Raises:
            TimeoutError: none came within ``timeout`` seconds.
        """
        _, future = self.send(channel, msg_type, content, subshell)
        return await asyncio.wait_for(future, timeout)

    def answer_input(self, value: str) -> None:
        """Answer the input_request that waits."""
        self._client.input(value)

    async def _read(self, name: str, handle: Callable[[dict[str, Any]], None]) -> None:
        channel = getattr(self._client, f"{name}_channel")
        while True:
            try:
                message = await channel.get_msg()
            except ValueError:  # not signed with our key, or no message
                continue
            handle(message)
            await asyncio.sleep(0)  # under a flood nobody else would get a turn

    def _on_reply(self, message: dict[str, Any]) -> None:
        future = self._waiting.get(message["parent_header"].get("msg_id", ""))
        if future is not None and not future.done():
            future.set_result(message["content"])

    def _on_iopub(self, message: dict[str, Any]) -> None:
        import zmq

        if not self._client.iopub_channel.socket.EVENTS & zmq.POLLIN:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()
        self.on_iopub(message)

    async def _watch_link(self) -> None:
        """Follow the control socket's connection. zmq_socket_monitor(3)."""
        import zmq
        from zmq.utils.monitor import parse_monitor_message

        monitor = self._client.control_channel.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        while True:
            event = parse_monitor_message(await monitor.recv_multipart())
            self.on_link(event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    async def _beat(self) -> None:
        """Send a heartbeat each second, as every Jupyter client does."""
        socket = self._client.connect_hb()
        # send again though the last one was not answered; tell late answers by their number
        socket.req_relaxed = socket.req_correlate = True

        async def send() -> None:
            while True:
                await socket.send(b"ping")
                await asyncio.sleep(1.0)

        sender = asyncio.get_running_loop().create_task(send())
        try:
            while True:
                await socket.recv()
                self.last_beat = time.monotonic()
        finally:
            sender.cancel()
