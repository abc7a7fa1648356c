"""Consoles on another machine, over the user's own OpenSSH.

Nothing is opened on the network: the other machine's Unix sockets are forwarded to sockets
in a folder that only this user can enter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def forward(target: str) -> Iterator[dict[str, Any]]:
    """Forward the sockets of ``[user@]host:PID|NAME`` to here, while the with block lasts.

    Yields:
        What a connection file for the forwarded sockets would say: ``transport``, ``ip``,
        the five ports, ``key``, ``signature_scheme``, ``kernel_name``, and the section
        ``rtconsole`` (``pid``, ``argv``, ``python``... of the process over there).

    Raises:
        errors.RtconsoleError: what the other machine's ``rtconsole`` said, or ssh.
    """
    raise NotImplementedError
    yield {}


def is_remote(target: str) -> bool:
    """Tell whether ``target`` names a process on another machine: ``[user@]host:PID``."""
    host, colon, rest = target.rpartition(":")
    return bool(colon and host and rest) and "/" not in host
