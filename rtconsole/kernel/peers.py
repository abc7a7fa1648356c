"""Who is at the other end of a connection: so that a client's channels are known for its own."""

import os
import socket
import struct
from typing import Any

import zmq


def connection_of(frame: Any) -> int:
    """Return the descriptor of the connection that a received frame came by, -1 if unknown.

    Args:
        frame: a ``zmq.Frame``; libzmq keeps the descriptor with it (zmq_msg_gets, "__fd").
    """
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError, AttributeError):
        return -1


def process_of(fd: int) -> int | None:
    """Return the pid of the process at the other end, where the system tells it.

    That is on Linux and for Unix sockets (unix(7), SO_PEERCRED).
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if fd < 0 or option is None:
        return None
    try:
        own = os.dup(fd)  # libzmq may close it at any moment
    except OSError:
        return None
    try:
        connection = socket.socket(fileno=own)
    except OSError:  # it was closed, and is something else by now
        os.close(own)
        return None
    with connection:
        if connection.family != getattr(socket, "AF_UNIX", None):
            return None
        try:
            pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, 12))
        except OSError:
            return None
    return pid or None
