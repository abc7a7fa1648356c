"""What a command's TARGET means: a process here, or one on another machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rtconsole import ssh, targets
from rtconsole.connection import program, shown


class Target(NamedTuple):
    """One process: what a client needs to know, and what a person calls it.

    Attributes:
        state: as the connection file has it, ``unknown`` over ssh.
    """

    info: dict[str, Any]
    name: str
    state: str


@contextmanager
def reached(target: str) -> Iterator[Target]:
    """Find the process; over ssh its sockets are forwarded while the with block lasts.

    Raises:
        errors.RtconsoleError: there is none, or no way there.
    """
    if ssh.is_remote(target):
        with ssh.forward(target) as info:
            yield Target(info, f"{target} ({_called(info)})", "unknown")
        return
    process = targets.find(target)
    name = f"{process.pid} ({_called(process.info)})"
    yield Target(process.info, name, process.connection.state)


def _called(info: dict[str, Any]) -> str:
    return shown(program(info["rtconsole"]["argv"])[:2])
