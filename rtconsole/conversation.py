"""A conversation with one kernel: all its channels, for a person, in an asyncio event loop.

As :mod:`.client`, to a kernel that somebody else started and that goes on without us.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Connection:
    """All channels of one kernel, in an asyncio event loop, until closed.

    Attributes:
        on_iopub: called with each message of iopub.
        on_stdin: called with each input_request.
        on_fault: called with what a message, or a task that reads them, failed with, and
            whether nothing more is read.
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
        self.on_fault: Callable[[Exception, bool], None] = lambda error, is_end: None
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
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        """Tell of a task that failed: without a word the console would be deaf from then on."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.on_fault(error, True)

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
        self._put(channel, message)
        return request_id, future

    def _put(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message by the asynchronous socket.

        Not by the channel's own ``send``, which goes past it: to send takes note of what has
        arrived meanwhile, and who waits for that in the event loop is told of it by nobody. It
        would not be read, nor would what comes after it. (zmq_getsockopt(3), ZMQ_FD.)
        """
        socket = getattr(self._client, f"{channel}_channel").socket
        socket.send_multipart(self._client.session.serialize(message))

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
        self._put("stdin", self._client.session.msg("input_reply", {"value": value}))

    async def _read(self, name: str, handle: Callable[[dict[str, Any]], None]) -> None:
        channel = getattr(self._client, f"{name}_channel")
        while True:
            try:
                message = await channel.get_msg()
            except (ValueError, TypeError, KeyError):  # not signed with our key, or no message
                continue
            try:
                handle(message)
            except Exception as error:  # protects who reads on: the program may send anything
                self.on_fault(error, False)
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
        import zmq

        socket = self._client.connect_hb()
        # send again though the last one was not answered; tell late answers by their number
        socket.req_relaxed = socket.req_correlate = True

        async def send() -> None:
            while True:
                await socket.send(b"ping")
                await asyncio.sleep(1.0)

        async def receive() -> None:
            while True:
                # what woke us may be an answer to an earlier one, which zmq drops
                with suppress(zmq.Again):
                    await socket.recv()
                    self.last_beat = time.monotonic()

        await asyncio.gather(send(), receive())
