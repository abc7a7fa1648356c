"""An unusual start of a listener: settings, TCP, a folder that cannot be written.

Standard library only. Imported only where there is such a reason.
"""

import _socket
import os
import sys

from .listener import Listener, note


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


def tcp_socket(self: Listener, channel: str) -> "tuple[_socket.socket, tuple[str, int]]":
    """Return a socket for ``channel`` and the loopback address to bind it to."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    port = self.info[f"{channel}_port"]
    if port and os.name == "posix":  # made anew at the address it had
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    return sock, (self.info["ip"], port)
