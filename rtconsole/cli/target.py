"""What a command's TARGET means: a process here, or one on another machine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rtconsole import client, processes, ssh, targets
from rtconsole.connection import program, shown
from rtconsole.errors import NoSuchProcess, UsageError


class Target(NamedTuple):
    """One process: what a client needs to know, and what a person calls it.

    Attributes:
        state: as the connection file has it, ``unknown`` over ssh.
    """

    info: dict[str, Any]
    name: str
    state: str


def chosen(words: Iterable[str], everywhere: bool) -> dict[str, Target | None]:
    """Return what several targets are called, with what is known of them already.

    Args:
        everywhere: all processes that have a console are meant; then ``words`` must be empty.

    Raises:
        UsageError: none is given, or both are.
        NoSuchProcess: no process has a console.
    """
    words = list(dict.fromkeys(words))
    if everywhere == bool(words):
        raise UsageError("give the processes, or --all; one of them")
    if not everywhere:
        return dict.fromkeys(words)
    found = processes.running()
    if not found:
        raise NoSuchProcess("no process has a console; start one: RTCONSOLE=1 python program.py")
    return {str(one.pid): _target_of(one) for one in found}


@contextmanager
def reached(target: str, known: Target | None = None) -> Iterator[Target]:
    """Find the process; over ssh its sockets are forwarded while the with block lasts.

    Args:
        known: what the target is, if it was found before.

    Raises:
        errors.RtconsoleError: there is none, or no way there.
    """
    if known is not None:
        yield known
        return
    if ssh.is_remote(target):
        with ssh.forward(target) as info:
            yield Target(info, f"{target} ({_called(info)})", "unknown")
        return
    yield _target_of(targets.find(target))


def _target_of(process: processes.Process) -> Target:
    name = f"{process.pid} ({_called(process.info)})"
    return Target(process.info, name, process.connection.state)


def _called(info: dict[str, Any]) -> str:
    return shown(program(info["rtconsole"]["argv"])[:2]) or client.program_of(info)
