"""An unusual start of a listener: settings, TCP, a folder that cannot be written, taken names,
Windows. And its end in a process that goes on.

Standard library only. Imported only where there is such a reason.
"""

import _socket
import _thread
import atexit
import os
import select
import sys
from time import monotonic, sleep

from . import folders, leftovers, listener, pid_namespace
from .listener import BOOTING, PARKED, RESTING, Listener, note

# Names the process in which an interpreter with a console has ended: see :func:`lives_again`.
ENDED = "RTCONSOLE_ENDED"

# Seconds that the end of an interpreter in a process that goes on waits for a boot under way.
_LONGEST_BOOT = 5.0

# Seconds that the program's end waits for an import of a boot.
_LONGEST_IMPORT = 0.05


def open_it(self: Listener) -> None:
    """Open where the environment, or what is wrong with a folder, makes us.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    from . import settings

    chosen = settings.from_environment()
    for text in chosen.notes:
        note(text)
    if chosen.history:
        from . import recorder

        recorder.start(chosen.history)
    is_tcp = chosen.transport == "tcp"
    if is_tcp:
        from . import curve

        if not curve.supported_here() and os.name == "posix":
            # any user could subscribe to iopub, where what is sent is signed and not secret
            note("no TCP: jupyter_client here knows nothing of CurveZMQ; using Unix sockets")
            is_tcp = False
    self.bind("" if is_tcp else folders.socket_dir())
    if is_tcp and curve.supported_here():
        self.info["curve_publickey"], self.info["curve_secretkey"] = curve.keypair()
    try:
        runtime = folders.runtime_dir(os.environ, sys.platform)
        self.write_file(folders.own_folder(runtime))
    except OSError as error:
        fallback = folders.private_temporary_dir()
        note(f"no connection file in Jupyter's folder, using {fallback}", error)
        self.write_file(fallback)
    self.park()


def leave_alone(serve_children: bool) -> None:
    """This program gets no console: forget what the process left before an exec.

    Args:
        serve_children: whether the processes that it forks get one.
    """
    try:
        leftovers.forget(folders.runtime_dir(os.environ, sys.platform))
    except OSError:
        pass  # no folder, and so nothing to forget: the program starts as it would
    if serve_children:
        listener.opens_in_children = True
        listener.hook()


def tcp_socket(self: Listener, channel: str) -> _socket.socket:
    """Return a socket that listens for ``channel`` on loopback.

    Raises:
        OSError: there is none to be had.
    """
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        port = self.info[f"{channel}_port"]
        if option := address_option(sys.platform, bool(port)):
            sock.setsockopt(_socket.SOL_SOCKET, getattr(_socket, option), 1)
        sock.bind((self.info["ip"], port))
        sock.listen(512)
        self.info[f"{channel}_port"] = sock.getsockname()[1]
    except OSError:
        sock.close()  # unclosed, it would warn
        raise
    return sock


def bind_anyway(self: Listener, sock: _socket.socket, channel: str) -> None:
    """Bind to a channel's Unix socket whose name is taken, and listen.

    By a dead process that had our pid, or by us before an exec: then it is replaced. A live one
    in another container, that shares the folder and has the same pid, keeps its own.

    Raises:
        OSError: it cannot be replaced, or something else is wrong.
    """
    info = self.info
    address = f"{info['ip']}-{info[f'{channel}_port']}"
    try:
        if not self.sockets and not self.connection_file and leftovers.is_listening(address):
            info["ip"] += f".{pid_namespace()}"
            address = f"{info['ip']}-{info[f'{channel}_port']}"
        listener.unlink(address)
        sock.bind(address)
        sock.listen(512)
        self.sockets[channel] = sock.fileno()
    except BaseException:  # a signal's handler may raise, too
        sock.close()  # unclosed, it would warn
        raise


def rename_anyway(_: None, temporary: str, folder: str, name: str) -> str:
    """Give a connection file its name, which is taken; return that name, or another one.

    What a dead process with our pid left, or we before an exec, is replaced. A file that is
    another machine's or container's stays: whether its process lives cannot be told.

    Raises:
        OSError: it cannot be replaced.
    """
    pid = os.getpid()
    text = leftovers.read(f"{folder}/{name}")
    if b'"pid_namespace": ' in text and not leftovers.is_of(pid, text):
        name = leftovers.other_name(pid)
    os.replace(temporary, f"{folder}/{name}")
    return name


def link_anyway(_: None, folder: str, name: str) -> None:
    """Give a connection file its second name, which is taken, or for which there is no folder."""
    second = f"{folder}/external_kernels"
    try:
        folders.own_folder(second)
        listener.unlink(f"{second}/{name}")
        os.link(f"{folder}/{name}", f"{second}/{name}")
    except OSError as error:
        note("JupyterLab will not list this process", error)


def address_option(platform: str, again: bool) -> str | None:
    """Return the socket option for an address of our own, if it takes one.

    On Windows SO_REUSEADDR lets anybody bind what is bound, unless this is set; elsewhere it
    lets us bind again at the address we had.
    """
    if platform == "win32":
        return "SO_EXCLUSIVEADDRUSE"
    return "SO_REUSEADDR" if again else None


def park_without_signals(self: Listener) -> None:
    """On Windows: start the parked thread, which nothing stops but the end.

    There only sockets can be waited for, and no thread but the main one is given signals.
    """
    from . import lifecycle, renewal

    def wait() -> None:
        with self.gate:  # as in Listener._woken
            is_eager = renewal.is_eager(self)
        try:
            if not is_eager:
                select.select(list(self.sockets.values()), [], [])
        except (OSError, ValueError):  # the console was closed, and they with it
            return
        if self.state == PARKED:
            self.state = BOOTING
            lifecycle.boot(self)

    self.state = PARKED
    _thread.start_new_thread(wait, ())


def end_boot(self: Listener, stopped: bool) -> None:
    """Stop a boot that the program's end finds under way, at its next import; or just over.

    An interpreter that ends by KeyboardInterrupt ends its process by SIGINT; but it forgets
    that once any thread runs ``exec`` of a string (Python/pythonrun.c, run_eval_code_obj), as
    whoever imports a module with a named tuple does. So it is reminded.

    Args:
        stopped: the gate is held by who asks, and no import is under way.
    """
    if not stopped:
        self.gate.acquire(timeout=_LONGEST_IMPORT)
    last = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if isinstance(last, KeyboardInterrupt) and not hasattr(sys, "ps1"):
        try:
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            pass


def close_for_good(self: Listener, again: bool) -> None:
    """Close in a process that goes on when Python has ended, and may start it again.

    With musl only the parked thread ends: it may be about to wait, since the program's start, and
    look at what the interpreter's end frees (3.13, ceval_gil.c, drop_gil). With glibc it can read
    that still; musl gives it back to the system.

    No thread of ours may be left: one that wakes up in the next interpreter crashes it. A
    boot that is under way cannot be stopped, and is waited for.
    """
    from . import lifecycle

    if self.state == PARKED and lifecycle.unpark(self):
        self.state = RESTING
    if not again:
        return
    # In C's environment only, and so for whoever reads it anew: the next interpreter, if any.
    os.putenv(ENDED, str(os.getpid()))
    deadline = monotonic() + _LONGEST_BOOT
    while self.state == BOOTING and monotonic() < deadline:  # also if just rung
        sleep(0.005)
    kernel, refused = self.kernel, self.gone if self.state == "refusing" else None
    if kernel is not None:
        kernel.interrupt()
    lifecycle.close(self)
    if refused is not None:
        refused.acquire(timeout=_LONGEST_BOOT)
    if kernel is not None:
        kernel.join()


def lives_again() -> str | None:
    """Take the mark of an earlier interpreter; return why the next one gets no console, if so."""
    if os.environ.pop(ENDED, "") != str(os.getpid()):
        return None
    reason = unsafe_again(sys.version_info[:2])
    if reason:
        atexit.register(os.putenv, ENDED, str(os.getpid()))
    return reason


def unsafe_again(version: tuple[int, int]) -> str | None:
    """Return why a second interpreter of a process must not import what an earlier one has.

    In Python 3.12 functions of C modules that take keywords (``_ssl``'s) keep what they know
    of them in static memory, past the end of the interpreter that it belongs to, and crash.
    """
    return "Python 3.12 crashes when C modules are imported again" if version == (3, 12) else None
