"""What a person calls a process: its pid, its name, or its connection file."""

import os
import sys
from collections.abc import Iterable

from . import connection, folders, processes
from .connection import shown
from .errors import (
    Ambiguous,
    BadConnectionFile,
    NoConsole,
    NoSuchProcess,
    NotAllowed,
    UsageError,
)
from .processes import Process


def find(target: str) -> Process:
    """Return the one process that ``target`` means: a pid, a name, or a connection file.

    A name is that of the script (with or without ``.py``) or module, or a part of the
    command line, in any case of letters.

    Raises:
        NoSuchProcess, NoConsole, NotAllowed, Ambiguous, BadConnectionFile: what is wrong.
        UsageError: it is empty, as a variable that is not set.
    """
    if not target.strip():  # a part of every command line
        raise UsageError("the name of the process is empty; is a variable not set?")
    if target.isdecimal():
        return _by_pid(int(target))
    if os.sep in target or target.endswith(".json"):
        return _by_file(target)
    found = matching(target, processes.running())
    if len(found) > 1:
        lines = [f"  {one.pid}  {one.user}  {shown(one.program)}" for one in found]
        raise Ambiguous(f"{target!r} matches {len(found)} processes:\n" + "\n".join(lines))
    if not found:
        raise NoSuchProcess(
            f"no process with a console is called {target!r}; `rtconsole list` shows all"
        )
    return found[0]


def matching(name: str, processes: Iterable[Process]) -> list[Process]:
    """Return the processes that are called ``name``; if none is, those with it as a part."""
    processes = list(processes)
    wanted = name.casefold()
    exact = [one for one in processes if wanted in _names(one)]
    return exact or [one for one in processes if wanted in " ".join(one.program).casefold()]


def _names(process: Process) -> set[str]:
    label = process.connection.label.casefold()
    return {label, label.removesuffix(".py"), label.partition(".")[0]}


def _by_pid(pid: int) -> Process:
    for process in processes.running():
        if process.pid == pid:
            return process
    there = processes.about(pid)
    if not there.is_mine:
        raise NotAllowed(
            f"process {pid} ({there.name}) belongs to {there.user};"
            " only they and root can attach to it"
        )
    raise NoConsole(
        f"process {pid} ({there.name}) has no console; `rtconsole doctor {pid}` says why"
    )


def _by_file(path: str) -> Process:
    if os.sep not in path and not os.path.exists(path):
        path = os.path.join(folders.runtime_dir(os.environ, sys.platform), path)
    told = connection.read(os.path.abspath(path))
    process = processes.of_file(told)
    if process is None:
        raise BadConnectionFile(f"{path} was left by a process that ended, or is not here")
    return process
