"""An unusual start of a listener: settings, TCP, a folder that cannot be written, taken names,
Windows.

Standard library only. Imported only where there is such a reason.
"""

import _socket
import _thread
import os
import select
import sys

from . import folders, leftovers, listener
from .listener import Listener, note


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
    self.bind(folders.socket_dir() if chosen.transport == "ipc" else "")
    if chosen.transport == "tcp":
        from . import curve

        if curve.supported_here():
            self.info["curve_publickey"], self.info["curve_secretkey"] = curve.keypair()
    try:
        runtime = folders.runtime_dir(os.environ, sys.platform)
        self.write_file(folders.own_folder(runtime))
    except OSError as error:
        fallback = folders.private_temporary_dir()
        note(f"no connection file in Jupyter's folder, using {fallback}", error)
        self.write_file(fallback)
    self.park()


def tcp_socket(self: Listener, channel: str) -> _socket.socket:
    """Return a socket that listens for ``channel`` on loopback.

    Raises:
        OSError: there is none to be had.
    """
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        port = self.info[f"{channel}_port"]
        if port and os.name == "posix":  # made anew at the address it had
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
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
            info["ip"] += f".{listener.pid_namespace()}"
            address = f"{info['ip']}-{info[f'{channel}_port']}"
        listener.unlink(address)
        sock.bind(address)
        sock.listen(512)
    except OSError:
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


def park_without_signals(self: Listener) -> None:
    """Start the parked thread on Windows, where only sockets can be waited for.

    Nothing stops it but the end.
    """
    from . import lifecycle

    def wait() -> None:
        if not lifecycle.is_eager(self):
            select.select(list(self.sockets.values()), [], [])
        if self.state == listener.PARKED:
            self.state = listener.BOOTING
            lifecycle.boot(self)

    self.state = listener.PARKED
    _thread.start_new_thread(wait, ())
