"""An unusual start of a listener: settings, TCP, a folder that cannot be written, Windows.

Standard library only. Imported only where there is such a reason.
"""

import _socket
import _thread
import os
import select
import sys

from .listener import BOOTING, PARKED, Listener, note


def open_it(self: Listener) -> None:
    """Open where the environment, or what is wrong with a folder, makes us.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    from . import folders, settings

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


def tcp_socket(self: Listener, channel: str) -> "tuple[_socket.socket, tuple[str, int]]":
    """Return a socket for ``channel`` and the loopback address to bind it to."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    port = self.info[f"{channel}_port"]
    if port and os.name == "posix":  # made anew at the address it had
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    return sock, (self.info["ip"], port)


def park_without_signals(self: Listener) -> None:
    """Start the parked thread, which nothing stops but the end: on Windows.

    There only sockets can be waited for.
    """
    from . import lifecycle

    def wait() -> None:
        if not lifecycle.is_eager(self):
            select.select(list(self.sockets.values()), [], [])
        if self.state == PARKED:
            self.state = BOOTING
            lifecycle.boot(self)

    self.state = PARKED
    _thread.start_new_thread(wait, ())
