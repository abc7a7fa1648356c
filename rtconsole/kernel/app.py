"""ipykernel's kernel made harmless to its host: every override, with what it prevents."""

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import comm
import IPython
import zmq
from ipykernel.kernelbase import Kernel as KernelBase
from IPython.core.compilerop import CachingCompiler
from jupyter_client.session import extract_header
from traitlets import Type

from rtconsole import __version__, turns

from . import cell, debugging, kinds, peers, spawning, unseen
from .asking import Questions
from .audit import Audit
from .guard import GuardedKernel
from .interrupt import Interrupts
from .masks import Signals
from .namespace import Namespace
from .output import SILENCE, Output
from .quiet import look
from .shell import Shell
from .spared import Spared
from .stacks import all_stacks
from .status import Status

# Messages on the stdin channel that libzmq keeps of one client, and that are read in one go where
# nobody waits for them: for each part of one, who computes has the interpreter for 5 ms.
STALE = 10


class Stream:
    """What ipykernel and IPython take for ``sys.stdout`` in the console's threads."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, kernel: "Kernel", name: str) -> None:
        self._kernel = kernel
        self.name = name

    def write(self, text: str) -> int:
        running = cell.running()
        if running is not None:
            running.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        self._kernel.flush_output()

    def isatty(self) -> bool:
        return False


class Kernel(GuardedKernel):
    """The kernel of a console. Made directly, never with ``instance()``: see ``cell``."""

    shell_class = Type(Shell)
    compiler_class = Type(CachingCompiler)
    # The original names its class as a string, which is imported when a kernel is made:
    # 130 ms, 8 MB, and a warning on the program's stderr.
    debugger_class = Type(object)
    # The original sleeps so long after each cell, by the program's ``time.sleep``, which a test of
    # the program's may have replaced to see who sleeps.
    _execute_sleep = 0.0

    def __init__(
        self,
        namespace: Namespace,
        program: str,
        output: Output,
        status: Status,
        own_threads: Collection[int],
        signals: Signals,
        audit: Audit,
        is_readonly: bool,
        spared: Spared,
        **traits: Any,
    ) -> None:
        """
        Args:
            namespace: what a cell's names mean.
            program: what the program is called, for the banner.
            output: where output goes.
            status: what those who list the processes see.
            own_threads: identifiers of the console's threads; may grow later.
            signals: the program's, for what cells start.
            audit: is asked before each cell.
            is_readonly: clients may look but not run.
            spared: the kernel's descriptors.
        """
        # Not IPythonKernel.__init__: it imports the debugger, and makes its shell a singleton.
        KernelBase.__init__(self, **traits)
        self._guard(audit, is_readonly)
        self._program = program
        self._status = status
        self._own_threads = own_threads
        self.interrupts = Interrupts()
        self.output = output
        self._stdin = threading.RLock()  # of that channel's socket
        self._take_stdin = look(self._stdin.acquire)
        self._questions = Questions(self.interrupts, self.iopub_thread, self.control_thread)
        self.iopub_thread.on_change = self._audience_changed
        self.shell = Shell(
            namespace,
            self.interrupts,
            parent=self,
            kernel=self,
            profile_dir=self.profile_dir,
            compiler_class=self.compiler_class,
        )
        self.shell.displayhook.session = self.session
        self.shell.displayhook.pub_socket = self.iopub_socket
        self.shell.displayhook.topic = self._topic("execute_result")
        self.shell.display_pub.session = self.session
        self.shell.display_pub.pub_socket = self.iopub_socket
        self.comm_manager = comm.get_comm_manager()
        for name in ("comm_open", "comm_msg", "comm_close"):
            self.shell_handlers[name] = getattr(self.comm_manager, name)
        self.control_handlers["stack_request"] = self.stack_request
        self.control_handlers["kept_request"] = self.kept_request
        self._restrict()
        self.routes = cell.Routes(
            [
                (IPython.core.interactiveshell.InteractiveShell, self.shell),
                (KernelBase, self),
            ],
            self.output.mirror.cell,
            [*spawning.routes(signals), *signals.routes(), *debugging.routes(), *unseen.routes()],
            spared,
        )

    # -- what a cell needs (cell.Console) ------------------------------------------------

    def write_output(self, stream: str, text: str, parent: dict[str, Any]) -> None:
        self.output.publisher.put(stream, text, parent)

    def flush_output(self) -> None:
        self.output.flush()

    def ask(self, prompt: str, password: bool) -> str:
        question = self.getpass if password else self.raw_input
        _ = -self._take_stdin  # quietly: what interrupts it meanwhile is raised in the try
        try:
            return self._questions.ask(peers.current(), partial(question, prompt))
        finally:
            self._stdin.release()

    def uninterrupted(self) -> AbstractContextManager[None]:
        return self.interrupts.held_off()

    def _forget_who_left(self) -> None:
        """Have the stdin channel's socket forget the clients that are gone.

        libzmq does that when a socket is used and what they sent is read; otherwise each
        client's pipes stay, 35 KB. Nobody has been asked anything, so what is there is stale.
        """
        if self.stdin_socket is not None and self._stdin.acquire(blocking=False):
            try:  # not while a cell asks: sockets are no more thread-safe than that
                for _ in range(STALE):
                    if not self.stdin_socket.get(zmq.EVENTS) & zmq.POLLIN:
                        break
                    self.stdin_socket.recv_multipart(zmq.NOBLOCK)
            finally:
                self._stdin.release()

    def display(self, value: object) -> None:
        self.shell.displayhook(value)

    def _audience_changed(self) -> None:
        """A client came or went. In the iopub thread."""
        self._status.clients_are(len(self.iopub_thread.subscribers))
        self.output.audience_changed()
        self._questions.audience_changed()

    def start(self) -> None:
        """Not IPythonKernel.start, which sets the debugger going."""
        KernelBase.start(self)

    # -- requests ------------------------------------------------------------------------

    async def dispatch_shell(self, msg: Any, /, *arguments: Any, **options: Any) -> None:
        """Serve one request as a cell: see :mod:`.cell`."""
        self._forget_who_left()
        with self.routes.installed():
            try:
                await super().dispatch_shell(msg, *arguments, **options)
            finally:
                served = cell.current.get()
                cell.current.set(None)
                if served is not None:
                    served.is_done = True
                    if served.is_execution:
                        self.interrupts.forget()

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        """As the original; from a cell's ``idle`` on the program's output belongs to it.

        And an interrupt counts from its ``busy`` on, for which clients wait.
        """
        now = cell.current.get()
        if channel == "shell" and now is not None and now.is_execution:
            if status == "idle":
                header, process = now.parent, now.process
                self.iopub_thread.then(lambda: self.output.cell_ends(header, process))
            elif status == "busy":
                self.interrupts.announce()
        super()._publish_status(status, channel, parent)

    def set_parent(self, ident: Any, parent: Any, channel: str = "shell") -> None:
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            header = extract_header(parent)
            cell.current.set(cell.Cell(self, header, peers.current().pid))
            self.output.client_goes_on(header.get("session"))

    def pre_handler_hook(self) -> None:
        """Set no handler for SIGINT: that is the program's."""

    def post_handler_hook(self) -> None:
        """Likewise."""

    def _forward_input(self, allow_stdin: bool = False) -> None:
        """Replace no ``input`` and ``getpass``: the routes do, for the cell only."""
        self._allow_stdin = allow_stdin

    def _restore_input(self) -> None:
        """Likewise."""

    @contextmanager
    def _cancel_on_sigint(self, future: Any) -> Iterator[None]:
        """Set no handler for SIGINT; an asynchronous cell is interrupted as others are."""
        yield

    async def kernel_info_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Answer, and let iopub be silent for as long as clients wait for it to be."""
        session = extract_header(parent).get("session")
        self.output.clients_wait_for_silence(session, answered=False)
        await super().kernel_info_request(stream, ident, parent)
        self.output.clients_wait_for_silence(session, answered=True)
        if stream is not self.control_stream:
            self.shell_lock(parent["header"].get("subshell_id")).be_silent(SILENCE)

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        self.output.cell_begins(peers.current().pid)
        turns.give_back()
        with self._status.cell(), self.interrupts.request():
            await super().execute_request(stream, ident, parent)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the running cell. The original sends SIGINT to the process or its group.

        A ``subshell_id`` in the header says whose cell; without one it is the main shell's
        or, if none runs there, whatever runs.
        """
        subshell = parent["header"].get("subshell_id")
        thread = self.shell_channel_thread.manager.thread_of(subshell)
        content: dict[str, Any] = {"status": "ok"}
        try:
            await self.interrupts.interrupt(thread, or_any=subshell is None)
        except NotImplementedError as error:
            content = {"status": "error", "ename": "NotImplementedError", "evalue": str(error)}
        self.session.send(stream, "interrupt_reply", content, parent, ident=ident)

    async def stack_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Tell the stacks of all threads, as :func:`.stacks.all_stacks` does.

        A message of our own, on the control channel, whose thread answers while a cell hangs.
        """
        content = {"status": "ok", "threads": self.stacks()}
        self.session.send(stream, "stack_reply", content, parent, ident=ident)

    def stacks(self) -> list[dict[str, Any]]:
        """Return all threads' stacks."""
        main = self.output.publisher.main_thread_id
        return all_stacks(main, self._own_threads, self.interrupts.threads())

    async def kept_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Tell what was kept of the program's output: [stream, text], oldest first.

        A message of our own, as the one above.
        """
        content = {"status": "ok", "kept": self.output.recorder.kept()}
        self.session.send(stream, "kept_reply", content, parent, ident=ident)

    async def shutdown_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Answer, and stay. The original ends the program's children and stops the loops.

        Nothing is said on iopub, where it would make the other clients leave.
        """
        content = {"status": "ok", "restart": bool(parent["content"].get("restart"))}
        self.session.send(stream, "shutdown_reply", content, parent, ident=ident)

    # Coroutines, since ipykernel warns of others: with -W error that would be no answer.

    async def do_complete(self, code: str, cursor_pos: int) -> Any:
        reply = await super().do_complete(code, cursor_pos)
        kinds.fill_in(reply, code, self.shell.user_ns)
        return reply

    async def do_history(self, *arguments: Any, **options: Any) -> Any:
        return super().do_history(*arguments, **options)

    async def do_is_complete(self, *arguments: Any, **options: Any) -> Any:
        return super().do_is_complete(*arguments, **options)

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        return {"status": "ok", "restart": restart}

    def send_shutdown_notice(self) -> None:
        """Tell all clients that the kernel goes away, as at the end of any kernel."""
        self.session.send(
            self.iopub_socket,
            "shutdown_reply",
            {"status": "ok", "restart": False},
            ident=self._topic("shutdown"),
        )

    async def do_debug_request(self, msg: Any) -> Any:
        """There is no debugger: it would stop the program's threads."""
        return {"success": False, "message": "rtconsole has no debugger"}

    @property
    def kernel_info(self) -> dict[str, Any]:
        """As the original, which imports the debugger to see whether it is there."""
        from ipykernel._version import kernel_protocol_version

        return {
            "protocol_version": kernel_protocol_version,
            "implementation": self.implementation,
            "implementation_version": self.implementation_version,
            "language_info": self.language_info,
            "banner": self.banner,
            "help_links": self.help_links,
            "supported_features": ["kernel subshells"],
        }

    @property
    def connection_file(self) -> str:
        """The connection file's path, for magics; empty if there is none any more."""
        return self._status.connection_file

    @property
    def banner(self) -> str:
        python = sys.version.partition(" ")[0]
        return (
            f"rtconsole {__version__} in {self._program}, Python {python},"
            f" IPython {IPython.__version__}\n"
            "Your names are the running program's. exit leaves; the program goes on.\n"
            + ("You may look but not run: RTCONSOLE_READONLY.\n" if self.is_readonly else "")
        )
