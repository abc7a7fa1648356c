"""Who may ask the kernel for what: unsigned messages, the audit, and consoles that only look."""

import threading
from collections.abc import Awaitable
from typing import Any

import zmq
from ipykernel.ipkernel import IPythonKernel

from . import peers, readonly
from .audit import Audit, Refused, Request
from .fairness import FairLock
from .intake import BURST, CONTROL_BURST, FREE, MOST, Intake, TooManyRequests
from .session import Session
from .untold import Senders


class GuardedKernel(IPythonKernel):
    """The part of the kernel that says no.

    Attributes:
        is_readonly: clients may look but not run.
    """

    def _guard(self, audit: Audit, is_readonly: bool) -> None:
        """Begin. Not ``__init__``, which of the original's is not to be run."""
        self._audit = audit
        self.is_readonly = is_readonly
        self._clients = peers.Clients()
        self._at_shell = Senders(peers.address_of(self.shell_stream.socket))
        self._at_control = Senders(peers.address_of(self.control_stream.socket))
        self._main_asyncio_lock: Any = FairLock()
        to_main = self.shell_channel_thread.manager.get_shell_channel_to_subshell_pair(None)
        self._main_asyncio_lock.stream = lambda: to_main.to_stream
        self._shell_intake = Intake(self.shell_stream, self.shell_channel_thread_main, BURST)
        self._control_intake = Intake(self.control_stream, self.dispatch_control, CONTROL_BURST)

    def _restrict(self) -> None:
        """Leave only what clients may ask for among the handlers."""
        if self.is_readonly:
            readonly.restrict(self.shell_handlers, self.refuse_request)
            readonly.restrict(self.control_handlers, self.refuse_request)

    def shell_channel_thread_main(self, msg: Any) -> Awaitable[None] | None:
        """Take a message from the shell channel: signed ones, and of a flood not all at once."""
        is_ours = self._is_let_in(msg)
        intake = self._shell_intake
        if not is_ours or self._clients.waiting() >= FREE or intake.is_flooded():
            intake.slow_down(is_ours)
        return self._hand_over(msg) if is_ours else None

    async def _hand_over(self, msg: Any) -> None:
        """As the original, whose errors over what is no message reach the program's stderr."""
        try:
            header = self.session.unpack(msg[peers.signature_at(msg) + 1].bytes)
            shell = header.get("subshell_id")
            if self._clients.waiting(shell) < MOST:
                self._clients.received(msg, self._at_shell.of(msg), shell)
                await super().shell_channel_thread_main(msg)
            else:
                idents, parts = self.session.feed_identities(msg, copy=False)
                request = self.session.deserialize(parts, content=False, copy=False)
                error = TooManyRequests(f"{MOST} requests wait for this shell already")
                self._send_unknown_subshell_reply(idents, request, error)
        except Exception:
            self.log.error("invalid shell message", exc_info=True)

    def shell_lock(self, subshell_id: str | None) -> FairLock:
        """Return the lock under which a subshell, or for None the main shell, serves requests."""
        if subshell_id is None:
            lock: FairLock = self._main_asyncio_lock
        else:
            lock = self.shell_channel_thread.manager.get_subshell_asyncio_lock(subshell_id)
        return lock

    @property
    def _aborting(self) -> bool:
        """Whether a cell is skipped after an error: those of the same client only."""
        return self.shell_lock(None).is_skipping

    @_aborting.setter
    def _aborting(self, begins: bool) -> None:
        self.shell_lock(None).is_skipping = begins

    def finish_metadata(
        self, parent: dict[str, Any], metadata: dict[str, Any], reply_content: dict[str, Any]
    ) -> dict[str, Any]:
        """As the original; and skip what waits behind a cell that failed, before it is replied.

        The original does so after, and a cell that is sent upon the reply may be skipped then.
        One that fails on the control channel skips none of a shell's: they are not behind it.
        """
        others = self.control_thread, self.shell_channel_thread
        if threading.current_thread() not in others and _stops_on_error(parent, reply_content):
            super()._abort_queues(parent["header"].get("subshell_id"))
        return super().finish_metadata(parent, metadata, reply_content)  # type: ignore[no-any-return]

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """Nothing: see ``finish_metadata``."""

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        """As the original; what goes wrong with a message is for our log alone."""
        try:
            # whose connection it is, which ZMQ puts before what the client sends
            self.shell_lock(subshell_id).asking = msg[0].bytes if len(msg) > 1 else None
            await super().shell_main(subshell_id, msg)
        except Exception:
            self.log.error("invalid shell message", exc_info=True)

    def dispatch_control(self, msg: Any) -> Awaitable[None] | None:
        """Take a message from the control channel, and the next one when this was served.

        The original reads on, and keeps what it has read in memory.
        """
        if not self._is_let_in(msg):
            self._control_intake.slow_down(is_ours=False)
            return None
        self._control_intake.stop()
        return self._serve_control(msg)

    async def _serve_control(self, msg: Any) -> None:
        try:
            self._clients.received(msg, self._at_control.of(msg))
            await super().dispatch_control(msg)
        except Exception:
            self.log.error("invalid control message", exc_info=True)
        finally:
            is_flood = self.control_stream.socket.get(zmq.EVENTS) & zmq.POLLIN
            if not (is_flood and self._control_intake.slow_down()):
                self._control_intake.go_on()

    def _is_let_in(self, msg: Any) -> bool:
        """Tell whether a message is signed with our key; the log hears of 1, 10, 100... others."""
        session: Session = self.session
        if session.is_ours(msg):
            return True
        if str(session.strangers).strip("0") == "1":
            self.log.warning("%d messages not signed with our key", session.strangers)
        return False

    async def process_control(self, msg: Any) -> None:
        """As the original, knowing who asks: control takes cells as well."""
        with peers.serving(self._clients.serve(msg)):
            await super().process_control(msg)

    async def dispatch_shell(self, msg: Any, /, *arguments: Any, **options: Any) -> None:
        """Likewise."""
        with peers.serving(self._clients.serve(msg)):
            await super().dispatch_shell(msg, *arguments, **options)

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Any = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: Any = None,
    ) -> dict[str, Any]:
        """Run a cell, unless it is refused: as the original, whose parameters these are."""
        expressions = user_expressions if isinstance(user_expressions, dict) else {}
        request = Request(str(code), expressions, bool(silent), peers.current())
        try:
            if self.is_readonly:
                return self._look(request)
            self._audit.run(request)
        except Refused as refusal:
            return self._refusal(str(refusal), silent)
        reply: dict[str, Any] = await super().do_execute(
            code,
            silent,
            store_history,
            expressions,
            allow_stdin,
            cell_meta=cell_meta,
            cell_id=cell_id,
        )
        return reply

    def _look(self, request: Request) -> dict[str, Any]:
        """Run a cell of a console that may not run any.

        Raises:
            Refused: it does more than look.
        """
        payload = None if request.expressions else readonly.look(self.shell, request.code)
        if payload is None:
            self._audit.refused(request, readonly.REASON)
            raise Refused(readonly.REASON)
        return {
            "status": "ok",
            "execution_count": self.execution_count,
            "payload": [payload] if payload else [],
            "user_expressions": {},
        }

    def _refusal(self, reason: str, silent: bool) -> dict[str, Any]:
        """Tell a client that its cell is not run, and return the reply's content.

        Its ``rtconsole`` tells that from an exception that the cell raised.
        """
        content = {
            "ename": "CellRefused",
            "evalue": reason,
            "traceback": [f"CellRefused: {reason}"],
            "rtconsole": {"refused": reason},
        }
        if not silent:
            self.send_response(self.iopub_socket, "error", content, ident=self._topic("error"))
        return {
            **content,
            "status": "error",
            "execution_count": self.execution_count,
            "user_expressions": {},
            "payload": [],
        }

    async def refuse_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Refuse what a console that may only look does not do."""
        kind = parent["header"]["msg_type"]
        if kind == "comm_open":  # as if nobody knew its target
            comm_id = parent["content"].get("comm_id")
            self.send_response(self.iopub_socket, "comm_close", {"comm_id": comm_id, "data": {}})
        elif kind.endswith("_request"):
            content = {"status": "error", "ename": "Refused", "evalue": readonly.REASON}
            reply = kind.removesuffix("request") + "reply"
            self.session.send(stream, reply, {**content, "traceback": []}, parent, ident=ident)

    async def do_complete(self, code: str, cursor_pos: int) -> Any:
        """As the original, which evaluates; a console that only looks does not."""
        if self.is_readonly:
            return readonly.complete(self.shell, code, cursor_pos)
        return super().do_complete(code, cursor_pos)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> Any:
        """Likewise."""
        if self.is_readonly:
            return readonly.inspect(self.shell, code, cursor_pos, detail_level)
        return super().do_inspect(code, cursor_pos, detail_level, omit_sections)


def _stops_on_error(request: dict[str, Any], reply_content: dict[str, Any]) -> bool:
    """Tell whether a cell has failed that others are not to run after."""
    if request["header"]["msg_type"] != "execute_request" or reply_content["status"] != "error":
        return False
    content = request["content"]
    return not content.get("silent") and bool(content.get("stop_on_error", True))
