"""The running kernel: on the listener's sockets, and back off them.

Runs in a thread of ours, beside a program that may be busy: so the heartbeat answers
first, and imports are made one at a time, between which the program may fork.
"""

import _socket
import sys
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rtconsole import debuglog, descriptors, native, recorder, room, settings, turns
from rtconsole.debuglog import system

from . import hidden
from .clock import monotonic
from .importing import callbacks, load_modules, take_callbacks

# Seconds at the program's end: at most for the notice to the clients to be handed to
# libzmq, and for libzmq to write it.
_EXIT_PATIENCE = 0.03
_EXIT_WRITE = 0.002
_STOP_PATIENCE = 2.0

# Milliseconds that libzmq tries to write what it has, when the console is stopped.
_LINGER = 100

# How far up the kernel's descriptors begin: the program may close its last ones once more.
_BEYOND = 16

# Bytes of a frame from a client: a cell with all that a widget sends along; all else.
_LARGEST = {"shell": 128 << 20, "control": 16 << 20}
_LARGEST_OTHER = 1 << 20

# Characters of the program's output that are kept for %tail, if RTCONSOLE_HISTORY says
# nothing: of what was mirrored only.
_KEPT = 64 << 10


def refuse_a_second_life() -> None:
    """Raise if an interpreter that has ended, in this process, had zmq imported.

    Where C has Python in it, it may end it and start it again. Cython keeps a module's state
    in C, of which some then belongs to the first interpreter: its import fails, or crashes.
    """
    if "zmq" in sys.modules:
        return
    maps = b""
    with suppress(OSError):  # not on Linux
        maps = descriptors.contents("/proc/self/maps")
    if b"/zmq/backend/cython/_zmq." in maps:
        raise ImportError("an earlier interpreter of this process had zmq; no second can")


class RunningKernel:
    """The kernel and its threads, as the listener sees them."""

    def __init__(self, listener: Any) -> None:
        import threading

        self.listener = listener
        self._info: dict[str, Any] = listener.info
        self._thread = threading.current_thread()
        self._threads: set[int] = {get_ident()}
        self._pid = system.getpid()
        self._stopped: Any = None
        self._dismantled = threading.Event()
        self.kernel: Any = None
        self.kept: Any = None  # what is not to be deallocated at the end
        self._sockets: list[Any] = []
        self._unused: list[Any] = []  # event loops, until there are threads in which they run
        self._listening: dict[int, int] = {}  # descriptors that libzmq was given, by ours
        self._callbacks = callbacks()
        refuse_a_second_life()
        with listener.gate:
            import zmq

            from . import atonce
            from .spared import Spared, endpoints_of

        self._at_once = atonce.install(debuglog.note)
        self.spared = Spared(endpoints_of(self._info), *(listener.pipe or ()))
        with self.spared.opening(_BEYOND):
            self._context = zmq.Context()
            self._heartbeat_context = zmq.Context()
            self._start_heartbeat()

    def _socket(
        self,
        context: Any,
        kind: int,
        channel: str,
        prepare: Callable[[Any], None] = lambda socket: None,
    ) -> Any:
        """Return a ZMQ socket on the listener's own socket, with whoever waits in its backlog."""
        import zmq

        socket = context.socket(kind)
        if context is self._context:
            self._sockets.append(socket)
        prepare(socket)
        # Of what a client has not taken that is gone: no timer of libzmq's is to wait for it, which
        # ends the process where the program has closed all descriptors meanwhile.
        socket.linger = 0
        # before a handshake, too, when it is anybody's: libzmq's own limit is the memory
        socket.maxmsgsize = _LARGEST.get(channel, _LARGEST_OTHER)
        if "curve_secretkey" in self._info:
            socket.curve_secretkey = self._info["curve_secretkey"].encode()
            socket.curve_publickey = self._info["curve_publickey"].encode()
            socket.curve_server = True
        # A duplicate: libzmq closes it with the socket, and the listener keeps its own.
        # https://libzmq.readthedocs.io/en/latest/zmq_setsockopt.html (ZMQ_USE_FD)
        own = self.listener.sockets[channel]
        self._listening[own] = _socket.dup(own)
        socket.setsockopt(zmq.USE_FD, self._listening[own])
        ip, port = self._info["ip"], self._info[f"{channel}_port"]
        separator = ":" if self._info["transport"] == "tcp" else "-"
        socket.bind(f"{self._info['transport']}://{ip}{separator}{port}")
        return socket

    def _start_heartbeat(self) -> None:
        """Answer the heartbeat before anything else: a slow boot is no dead kernel.

        The loop is libzmq's own and needs the interpreter only to start.
        """
        import threading

        import zmq

        socket = self._socket(self._heartbeat_context, zmq.ROUTER, "hb")

        def beat() -> None:
            try:
                zmq.proxy(socket, socket)
            except zmq.ZMQError:  # the context is terminated: the end
                pass
            finally:
                socket.close(linger=0)

        heart = threading.Thread(target=beat, name="rtconsole heartbeat", daemon=True)
        self._heart = hidden.mark(heart)
        with room.for_deep_calls():
            self._heart.start()

    def load(self) -> None:
        """Import what the kernel is made of."""
        self.programs_completer = sys.modules.get("IPython.core.completer")
        load_modules(self.listener.gate, self.listener.main_thread_id)

    async def serve(self, loop: Any, built: Callable[[], None]) -> None:
        """Build the kernel in this thread, tell ``built``, and serve until stopped."""
        import asyncio

        with self.listener.gate, self.spared.opening(), room.for_deep_calls():
            self._build(loop)
        self.loop, self._stopped = loop, asyncio.Event()
        self.listener.kernel = self
        built()
        turns.give_back()
        if self.listener.state == "closed":  # meanwhile, by who may have found no kernel to close
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _STOP_PATIENCE)
            return
        self.listener.state = "running"
        debuglog.note("the kernel runs")
        await self._stopped.wait()

    def _build(self, loop: Any) -> None:
        import threading

        import zmq
        from ipykernel.control import ControlThread
        from zmq.eventloop.zmqstream import ZMQStream

        from . import app, audit, door, ending, hostsys, iopub, loops, masks, profile, subshells
        from .logs import logger
        from .namespace import Namespace, Scope
        from .output import Output
        from .session import Session
        from .status import Status

        log = logger()
        loops.keep_errors(loop, log)
        hostsys.own_loops(self._threads, lambda: loops.new_loop(log))
        if self.programs_completer is None:
            hostsys.keep_no_stream()
        info, context = self._info, self._context
        session = Session(
            key=info["key"].encode(),
            signature_scheme=info["signature_scheme"],
            username="kernel",
        )
        shell_socket = self._socket(context, zmq.ROUTER, "shell")
        control_socket = self._socket(context, zmq.ROUTER, "control")
        control_socket.router_handover = 1  # as ipykernel: a client that reconnects is let in
        shell_socket.router_handover = 1
        stdin_socket = self._socket(
            context, zmq.ROUTER, "stdin", lambda socket: socket.set(zmq.RCVHWM, app.STALE)
        )
        wanted = settings.from_environment()
        status = Status(self.listener)
        publishing = self._socket(
            context, zmq.XPUB, "iopub", lambda socket: iopub.prepare(socket, wanted.buffer)
        )
        publisher = iopub.IOPub(publishing, wanted.buffer, pipe=False, session=session)
        control = ControlThread(daemon=True)
        shell_channel = subshells.ShellChannel(context, self._threads, self.spared, daemon=True)
        shell_stream = ZMQStream(shell_socket, shell_channel.io_loop)
        shell_channel.shell_stream = shell_stream
        self._unused = [thread.io_loop for thread in (publisher, control, shell_channel)]
        chosen = profile.load(wanted.profile)
        namespace = Namespace(self.listener.scope or Scope())
        kernel = app.Kernel(
            namespace,
            info["kernel_name"],
            Output(
                publisher,
                session,
                wanted,
                recorder.current or recorder.Recorder(_KEPT),
                self.listener.main_thread_id,
            ),
            status,
            self._threads,
            masks.Signals(self.listener.signal_mask or (), self.listener.main_native_id),
            audit.Audit(wanted.audit, info["kernel_name"].removesuffix(f" ({self._pid})")),
            wanted.readonly,
            self.spared,
            config=chosen.config,
            profile_dir=chosen.folder,
            session=session,
            log=log,
            control_stream=ZMQStream(control_socket, control.io_loop),
            shell_stream=shell_stream,
            control_thread=control,
            shell_channel_thread=shell_channel,
            iopub_thread=publisher,
            iopub_socket=publisher.background_socket,
            stdin_socket=stdin_socket,
        )
        kernel.record_ports({k: v for k, v in info.items() if k.endswith("_port")})
        self.kernel = kernel
        self.namespace = namespace
        self._ending: Any = ending  # imported now: at the end is no time for it
        self._unused.clear()
        for thread in (publisher, control, shell_channel):
            hidden.mark(getattr(thread, "thread", None) or thread)
            thread.start()
            self._threads.add((getattr(thread, "thread", None) or thread).ident)
        ours = publisher.thread, control, shell_channel, self._heart, threading.current_thread()
        hostsys.forget_streams(kernel, ours)
        self.host_sys = hostsys.install(
            self._threads,
            log,
            stdout=app.Stream(kernel, "stdout"),
            stderr=app.Stream(kernel, "stderr"),
        )
        iopub_fd = self.listener.sockets["iopub"]
        door.install(
            control.io_loop.asyncio_loop,
            self._listening,
            debuglog.note,
            lambda own: own == iopub_fd and publisher.patience.is_harassed(),
            lambda own: own == iopub_fd and publisher.patience.is_behind,
            self._at_once,
        )
        take_callbacks(self._callbacks)
        kernel.start()
        status.change()
        profile.run_startup_files(chosen, kernel.shell)

    def enter(self, scope: Any) -> None:
        """Run cells in another scope from now on."""
        self.namespace.scope = scope

    # -- the end -----------------------------------------------------------------------

    def end(self) -> None:
        """The program ends. All there is to do: the threads are daemons and hold nothing."""
        self.say_goodbye()
        self.let_go()

    def let_go(self) -> None:
        """Hold nothing of the program's any more."""
        try:
            self._ending.let_go(self, alone=system.getpid() != self._pid)
        except Exception as error:  # protects the program's exit
            debuglog.note("letting go", error)

    def runs_cells_here(self) -> bool:
        """Tell whether the calling thread is one of the kernel's."""
        return get_ident() in self._threads

    def is_left_alone(self) -> bool:
        """Tell whether there is no thread of the program's but the one that asks."""
        import threading

        ours = {*self._threads, self._heart.ident, get_ident()}
        return all(thread.ident in ours for thread in threading.enumerate())

    def abandon(self) -> set[int]:
        """In a forked child: none of the threads is here; let no destructor touch anything.

        Returns:
            What ``get_ident`` was in those threads.
        """
        _abandoned.append(self)
        if self.kernel is not None:
            self.kernel.output.mirror.abandon()
            self.kernel.routes.abandon()
        return self._threads

    def say_goodbye(self) -> None:
        """Tell the clients that the kernel goes away.

        The interpreter's end stops nothing, joins nothing and waits for nothing but this.
        """
        import threading

        if system.getpid() != self._pid or not self.loop.is_whole():
            return
        if self.kernel.iopub_thread.subscribers:
            sent = threading.Event()
            self.kernel.iopub_thread.schedule(self.kernel.output.say_all)
            self.kernel.send_shutdown_notice()
            self.kernel.iopub_thread.schedule(sent.set)
            sent.wait(_EXIT_PATIENCE)
            native.sleep(_EXIT_WRITE)
        self.kernel.output.mirror.end()  # also if the last has left, which may be news

    def close(self) -> None:
        """Stop for good, while the program goes on; may be called from a cell."""
        self.say_goodbye()
        self.loop.call_soon_threadsafe(self._stopped.set)
        if not self.runs_cells_here():
            self._dismantled.wait(_STOP_PATIENCE)

    def interrupt(self) -> None:
        """Interrupt all cells that run: no thread is to be left."""
        import asyncio

        cells, loop = self.kernel.interrupts, self.kernel.control_thread.io_loop.asyncio_loop
        if cells.threads() and loop.is_running():
            asyncio.run_coroutine_threadsafe(cells.interrupt(None, or_any=True), loop)

    def join(self) -> None:
        """Wait until the threads of a kernel that was closed are no more, for a while in all."""
        if not self._dismantled.is_set():
            return  # a cell waits in C, and the others for it
        deadline = monotonic() + _STOP_PATIENCE
        for thread in hidden.ours():
            if thread.ident in self._threads or thread is self._heart:
                thread.join(max(0.0, deadline - monotonic()))
        self._end_libzmq()

    def _end_libzmq(self) -> bool:
        """End libzmq's threads, which would outlive us; unless one of ours may use its sockets.

        Collected, the context would do so in the program's thread, and warn (-X dev).
        """
        for thread in hidden.ours():
            if thread.ident in self._threads and thread is not self._thread and thread.is_alive():
                return False  # in a cell without end, say
        self._context.destroy(linger=_LINGER)
        return True

    def dismantle(self) -> None:
        """Stop the other threads and close all sockets. In the shell thread, after its loop.

        Also where the kernel was not, or half, built.
        """
        kernel = self.kernel
        if kernel is not None:
            from . import hostsys

            hostsys.remove()
            kernel.output.mirror.listen(False)
            for thread in (kernel.control_thread, kernel.shell_channel_thread):
                thread.stop()
                thread.join(_STOP_PATIENCE)
            kernel.iopub_thread.stop()
            kernel.iopub_thread.close()
        for loop in self._unused:
            loop.close()
        for socket in self._sockets:
            socket.close(linger=_LINGER)
        self._heartbeat_context.term()
        if not self._end_libzmq():
            _abandoned.append(self)
        descriptors.let_go()  # a client may just have come
        if kernel is not None:
            self.let_go()
        self._dismantled.set()


# Kernels of a parent process, and those that are not quite over: kept, so that no destructor of
# theirs runs here.
_abandoned: list[RunningKernel] = []
