"""ipykernel's kernel made harmless to its host: every override, with what it prevents."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comm
import IPython
from ipykernel.control import ControlThread
from ipykernel.iostream import IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelbase import Kernel as KernelBase
from ipykernel.shellchannel import ShellChannelThread
from IPython.core.compilerop import CachingCompiler
from jupyter_client.session import extract_header
from tornado.ioloop import IOLoop
from traitlets import Type

from rtconsole import __version__

from . import cell
from .interrupt import Interrupts
from .namespace import Namespace
from .publisher import Publisher, Text
from .shell import Shell


def new_loop(log: logging.Logger) -> IOLoop:
    """Return an event loop of our own making, for a thread of ours.

    ``asyncio.new_event_loop`` would ask the program's policy (uvloop, say).
    """
    loop = asyncio.SelectorEventLoop()
    keep_errors(loop, log)
    return IOLoop(make_current=False, asyncio_loop=loop)


def keep_errors(loop: asyncio.AbstractEventLoop, log: logging.Logger) -> None:
    """Tell ``log`` what goes wrong in a loop, and not the program's ``asyncio`` logger."""
    loop.set_debug(False)  # PYTHONASYNCIODEBUG and -X dev mean the program's
    loop.set_exception_handler(
        lambda _, context: log.error(
            "%s", context.get("message"), exc_info=context.get("exception")
        )
    )


class Control(ControlThread):
    def __init__(self, loop: IOLoop, **options: Any) -> None:
        super().__init__(**options)
        self.io_loop.close()
        self.io_loop: IOLoop = loop


class ShellChannel(ShellChannelThread):
    def __init__(self, context: Any, loop: IOLoop, **options: Any) -> None:
        super().__init__(context, **options)
        self.io_loop.close()
        self.io_loop: IOLoop = loop


class IOPub(IOPubThread):
    """The iopub channel's thread.

    Attributes:
        subscribers: how many subscriptions there are; one for each connected client.
    """

    subscribers = 0

    def start(self) -> None:
        """Start without ``atexit``: the original would stop at exit, waiting for up to 30 s."""
        self.thread.start()

    async def _run_event_pipe_gc(self) -> None:
        """Do not wake every ten seconds to look for threads that ended."""

    def _handle_subscription(self, frames: list[bytes]) -> None:
        for frame in frames:
            if frame[:1] == b"\x01":
                self.subscribers += 1
                super()._handle_subscription([frame])
            elif frame[:1] == b"\0":
                self.subscribers -= 1
            # anything else is nobody's subscription; the original stumbles over it


class Stream:
    """What ipykernel and IPython take for ``sys.stdout`` in the console's threads."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, kernel: "Kernel", name: str) -> None:
        self._kernel = kernel
        self.name = name

    def write(self, text: str) -> int:
        running = cell.current.get()
        if running is not None:
            running.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        self._kernel.flush_output()

    def isatty(self) -> bool:
        return False


class Kernel(IPythonKernel):
    """The kernel of a console. Made directly, never with ``instance()``: see ``cell``."""

    shell_class = Type(Shell)
    compiler_class = Type(CachingCompiler)
    # The original names its class as a string, which is imported when a kernel is made:
    # 130 ms, 8 MB, and a warning on the program's stderr.
    debugger_class = Type(object)

    def __init__(self, namespace: Namespace, program: str, **traits: Any) -> None:
        """
        Args:
            namespace: what a cell's names mean.
            program: what the program is called, for the banner.
        """
        # Not IPythonKernel.__init__: it imports the debugger, and makes its shell a singleton.
        KernelBase.__init__(self, **traits)
        self._program = program
        self.interrupts = Interrupts()
        self.publisher = Publisher(
            self.iopub_thread.io_loop.asyncio_loop,
            self._send_text,
            lambda: self.iopub_thread._handle_event([]),
        )
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
        self.routes = cell.Routes(
            [
                (IPython.core.interactiveshell.InteractiveShell, self.shell),
                (KernelBase, self),
            ]
        )

    # -- what a cell needs (cell.Console) ------------------------------------------------

    def write_output(self, stream: str, text: str, parent: dict[str, Any]) -> None:
        self.publisher.put(stream, text, parent)

    def flush_output(self) -> None:
        """Have all text on its way before whatever is sent next."""
        self.iopub_thread.schedule(self.publisher.drain)

    def ask(self, prompt: str, password: bool) -> str:
        answer: str = self.getpass(prompt) if password else self.raw_input(prompt)
        return answer

    def display(self, value: object) -> None:
        self.shell.displayhook(value)

    def _send_text(self, item: Text) -> None:
        """Send a stream message. In the iopub thread, on the socket itself."""
        message = self.session.msg(
            "stream", {"name": item.stream, "text": item.text}, parent=item.parent
        )
        frames = self.session.serialize(message, ident=f"stream.{item.stream}".encode())
        self.iopub_thread._really_send(frames)

    def start(self) -> None:
        """Not IPythonKernel.start, which sets the debugger going."""
        KernelBase.start(self)

    # -- requests ------------------------------------------------------------------------

    async def shell_channel_thread_main(self, msg: Any) -> None:
        """As the original, whose errors over what is no message reach the program's stderr."""
        try:
            await super().shell_channel_thread_main(msg)
        except Exception:
            self.log.error("invalid shell message", exc_info=True)

    async def dispatch_control(self, msg: Any) -> None:
        """Likewise."""
        try:
            await super().dispatch_control(msg)
        except Exception:
            self.log.error("invalid control message", exc_info=True)

    async def dispatch_shell(self, msg: Any, /, *arguments: Any, **options: Any) -> None:
        """Serve one request as a cell: see :mod:`.cell`."""
        with self.routes.installed():
            try:
                await super().dispatch_shell(msg, *arguments, **options)
            finally:
                cell.current.set(None)

    def set_parent(self, ident: Any, parent: Any, channel: str = "shell") -> None:
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            cell.current.set(cell.Cell(self, extract_header(parent)))

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

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        with self.interrupts.request():
            await super().execute_request(stream, ident, parent)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the running cell. The original sends SIGINT to the process or its group."""
        await self.interrupts.interrupt()
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    async def shutdown_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Answer, and stay. The original ends the program's children and stops the loops.

        Nothing is said on iopub, where it would make the other clients leave.
        """
        content = {"status": "ok", "restart": bool(parent["content"].get("restart"))}
        self.session.send(stream, "shutdown_reply", content, parent, ident=ident)

    # Coroutines, since ipykernel warns of others: with -W error that would be no answer.

    async def do_complete(self, *arguments: Any, **options: Any) -> Any:
        return super().do_complete(*arguments, **options)

    async def do_inspect(self, *arguments: Any, **options: Any) -> Any:
        return super().do_inspect(*arguments, **options)

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
    def banner(self) -> str:
        python = sys.version.partition(" ")[0]
        return (
            f"rtconsole {__version__} in {self._program}, Python {python},"
            f" IPython {IPython.__version__}\n"
            "Your names are the running program's. exit leaves; the program goes on.\n"
        )
