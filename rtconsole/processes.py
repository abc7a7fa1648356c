"""Discovery: which live processes carry a console. The only importer of psutil.

Connection files are looked for where each process would write its own, by its environment,
user and mounts, and joined with the processes. Nothing is sent to any process, so a dormant
one stays dormant.
"""

import os
import stat
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import psutil

from . import connection, places
from .connection import Connection
from .errors import CannotAttach, NoSuchProcess

# Two reckonings of one start may differ by this many seconds: the system's clock is adjusted.
_CLOCK = 2.0

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True, slots=True)
class Process:
    """A live process with a console.

    Attributes:
        pid: as seen from here; in a container it has another one for itself.
        ppid: of its parent, with a console or not.
        parent: pid of the nearest ancestor that has a console, 0 if none has.
        user: name of the user that it runs as.
        started: seconds since the epoch.
        cpu_seconds: processor time used so far, at the time ``taken``.
        cpu_percent: of one processor, since it started, or since an earlier look.
        rss: resident memory in bytes.
        connection: what its connection file says.
        info: the same for a client.
    """

    pid: int
    ppid: int
    parent: int
    user: str
    started: float
    taken: float
    cpu_seconds: float
    cpu_percent: float
    rss: int
    connection: Connection

    @property
    def info(self) -> dict[str, Any]:
        return self.connection.info

    @property
    def program(self) -> tuple[str, ...]:
        """What it runs: the script or ``-m module``, and the arguments."""
        return connection.program(self.connection.argv)

    def as_json(self) -> dict[str, Any]:
        """Return what ``rtconsole list --json`` prints of it."""
        told = self.connection
        return {
            "pid": self.pid,
            "ppid": self.ppid,
            "user": self.user,
            "state": told.state,
            "clients": told.clients,
            "python": told.python,
            "argv": list(told.argv),
            "cwd": told.cwd,
            "started": self.started,
            "cpu_percent": round(self.cpu_percent, 1),
            "rss": self.rss,
            "transport": told.info["transport"],
            "connection_file": told.path,
        }


@dataclass(slots=True)
class Found:
    """What a look around came to: the processes, and the files that dead ones left."""

    processes: list[Process]
    dead: list[Connection]


def running(before: Iterable[Process] = ()) -> list[Process]:
    """Return the processes that have a console, by pid.

    Args:
        before: an earlier answer, since which processor use is reckoned.
    """
    return look(before).processes


def look(before: Iterable[Process] = ()) -> Found:
    """As :func:`running`, and with what dead processes of this user left behind."""
    pids = psutil.pids()
    here = places.view("self") or places.View("", "", "")
    where, members = places.find(pids, here, _environment)
    known = set(pids)
    live: dict[int, _Seen] = {}
    dead: list[Connection] = []
    users: dict[int, str] = {}
    bound = places.bound_sockets()
    inner: dict[places.View, dict[int, int]] = {}
    for place in where:
        for name, pid in places.files(place.reached):
            if place.view != here:
                if place.view not in inner:
                    inner[place.view] = places.inner_pids(members[place.view])
                outer = inner[place.view].get(pid, 0)
            else:
                outer = pid if pid in known else 0
            path = os.path.join(place.reached, name)
            if not outer and (place.view != here or not places.is_mine(path)):
                continue  # of no process that we see, nor ours to clear away
            try:
                told = connection.read(path)
            except CannotAttach:
                continue  # damaged, not ours to read, or gone meanwhile
            if told.pid != pid or not place.view.has_pids_of(told.pid_namespace):
                continue
            if outer and (seen := _seen(told, outer, users)) is not None:
                reached = _reached(told, place, outer)
                if _listens(told, outer, bound) and _holds_its_own(reached):
                    live[outer] = seen._replace(told=reached)
            elif place.view == here:
                dead.append(told)
    keys = {seen.told.info["key"] for seen in live.values()}  # perhaps seen from a container
    dead = [told for told in dead if told.info["key"] not in keys and _is_dead(told, bound)]
    return Found(_described(live, {process.pid: process for process in before}), dead)


def remove(dead: Iterable[Connection]) -> None:
    """Remove what dead processes of this user left: connection files and sockets."""
    bound = places.bound_sockets()
    for told in dead:
        folder, name = os.path.split(told.path)
        if not _is_dead(told, bound):  # its pid is some live process's by now
            continue
        for path in (told.path, os.path.join(folder, "external_kernels", name)):
            _unlink(path, stat.S_ISREG)
        if not _runs(told.pid):  # else they may be those of the pid's new owner
            for path in told.sockets():
                base = os.path.basename(os.path.dirname(path))
                if base == "rtconsole" or base.startswith("rtconsole-"):
                    _unlink(path, stat.S_ISSOCK)


def _unlink(path: str, is_kind: Any) -> None:
    try:
        found = os.lstat(path)
        if is_kind(found.st_mode) and (os.name != "posix" or found.st_uid == os.geteuid()):
            os.unlink(path)
    except OSError:
        pass


def _reached(told: Connection, place: places.Place, pid: int) -> Connection:
    """Return the connection with pid and socket paths as they are from here."""
    if pid == told.pid and place.reached == place.folder:
        return told
    info = {**told.info, "rtconsole": {**told.info["rtconsole"], "pid": pid}}
    if info["transport"] == "ipc":
        info["ip"] = place.reached.removesuffix(place.folder) + info["ip"]
    return replace(told, info=info)


# -- is it that process ------------------------------------------------------------------


def _is_of(told: Connection, process: psutil.Process) -> bool:
    """Tell whether a process, if it still lives, wrote the file.

    A file of another user's would lead whoever attaches, root above all, to that user.

    Raises:
        psutil.Error: it is gone.
    """
    if os.name == "posix" and told.uid not in (0, *process.uids()):
        return False
    if process.status() in _ENDED:
        return False
    return abs(process.create_time() - told.create_time) < _CLOCK or _holds_sockets(process, told)


def _holds_its_own(told: Connection) -> bool:
    """Tell whether the folder of the sockets still is that of who wrote the file."""
    return all(places.is_folder_of(os.path.dirname(p), told.uid) for p in told.sockets()[:1])


def _listens(told: Connection, pid: int, bound: Container[str] | None) -> bool:
    """Tell whether the process has its sockets: it may have become another program by exec.

    Or it is a daemon, which closed them and gets new ones in a second.
    """
    if bound is None or not (paths := told.sockets()) or paths[0] in bound:
        return True
    there = places.bound_sockets(pid)  # it has a network of its own, or is new
    return there is None or paths[0] in there


def _runs(pid: int) -> bool:
    """Tell whether there is such a process, and more of it than its exit status."""
    try:
        return psutil.Process(pid).status() not in _ENDED
    except psutil.Error:
        return False


def _holds_sockets(process: psutil.Process, told: Connection) -> bool:
    """Tell whether the process listens at the file's first address.

    Only asked where the times differ: the pid is another's by now, or the clock was set.
    """
    port = told.info["shell_port"]
    ipc = told.info["transport"] == "ipc"
    address: Any = told.sockets()[0] if ipc else (told.info["ip"], port)
    try:
        listening = process.net_connections("unix" if ipc else "tcp4")
    except (psutil.Error, OSError):
        return False
    return any(found.laddr == address for found in listening)


def _is_dead(told: Connection, bound: Container[str] | None) -> bool:
    """Tell whether a file is this user's, and was left by a process that ended on this machine.

    Home folders are shared between machines and with containers: what cannot be told is not
    dead.

    Args:
        bound: the Unix sockets that somebody has bound, perhaps in a container.
    """
    import socket

    if os.name == "posix" and told.uid != os.geteuid():
        return False
    here = places.view("self")
    if told.machine != socket.gethostname() or not (here and here.has_pids_of(told.pid_namespace)):
        return False
    if bound is not None and any(path in bound for path in told.sockets()):
        return False
    try:
        return not _is_of(told, psutil.Process(told.pid))
    except psutil.Error:
        return True


# -- what about it -----------------------------------------------------------------------


class _Seen(NamedTuple):
    """What is read of a process in one go."""

    told: Connection
    ppid: int
    user: str
    started: float
    taken: float
    cpu_seconds: float
    rss: int


def _seen(told: Connection, pid: int, users: dict[int, str]) -> _Seen | None:
    """Look at the process that wrote a file; ``None`` if ``pid`` is not it, or is gone.

    Args:
        users: names by uid, kept for the next.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if not _is_of(told, process):
                return None
            times = process.cpu_times()
            return _Seen(
                told=told,
                ppid=process.ppid(),
                user=_user(process, users),
                started=process.create_time(),
                taken=time.time(),
                cpu_seconds=times.user + times.system,
                rss=process.memory_info().rss,
            )
    except psutil.Error:
        return None


def _described(live: Mapping[int, _Seen], earlier: Mapping[int, Process]) -> list[Process]:
    """Return the processes, by pid, with what needs all of them or an earlier look."""
    parents = {pid: seen.ppid for pid, seen in live.items()}
    described = []
    for pid, seen in sorted(live.items()):
        since, base = seen.started, 0.0
        if (old := earlier.get(pid)) is not None and abs(old.started - since) < _CLOCK:
            since, base = old.taken, old.cpu_seconds
        percent = 100 * (seen.cpu_seconds - base) / max(seen.taken - since, 0.01)
        described.append(
            Process(
                pid=pid,
                ppid=seen.ppid,
                parent=_ancestor(seen.ppid, live, parents),
                user=seen.user,
                started=seen.started,
                taken=seen.taken,
                cpu_seconds=seen.cpu_seconds,
                cpu_percent=max(percent, 0.0),
                rss=seen.rss,
                connection=seen.told,
            )
        )
    return described


def _environment(pid: int) -> tuple[int, Mapping[str, str]] | None:
    try:
        process = psutil.Process(pid)
        uid = process.uids().effective if os.name == "posix" else -1
        return uid, process.environ()
    except (psutil.Error, OSError):
        return None


def _user(process: psutil.Process, names: dict[int, str]) -> str:
    if os.name != "posix":
        return process.username()
    uid = process.uids().real
    return names.get(uid) or names.setdefault(uid, process.username())


def _ancestor(pid: int, live: Container[int], parents: dict[int, int]) -> int:
    """Return the first of ``pid`` and its ancestors that has a console, or 0."""
    passed = set()
    while pid > 1 and pid not in live and pid not in passed:
        passed.add(pid)
        if pid not in parents:
            try:
                parents[pid] = psutil.Process(pid).ppid()
            except psutil.Error:
                return 0
        pid = parents[pid]
    return pid if pid in live else 0


@dataclass(frozen=True, slots=True)
class About:
    """What can be seen of any process, with a console or without.

    Attributes:
        name: of its executable, as the system shows it.
        is_mine: whether this user may look into it and attach to it.
        is_stopped: by a signal or a debugger.
        argv: its command line.
        env: its environment when it started; ``None`` if that is not ours to see.
    """

    pid: int
    name: str
    user: str
    is_mine: bool
    is_stopped: bool
    argv: tuple[str, ...]
    env: Mapping[str, str] | None


def about(pid: int) -> About:
    """Look at one process.

    Raises:
        NoSuchProcess: there is none.
    """
    try:
        process = psutil.Process(pid)
        name, user, status = process.name(), process.username(), process.status()
        mine = os.name != "posix" or os.geteuid() in (0, process.uids().effective)
    except (psutil.Error, ValueError, OverflowError):
        raise NoSuchProcess(f"there is no process {pid}") from None
    try:
        argv, env = process.cmdline(), process.environ()
    except (psutil.Error, OSError):
        argv, env = [], None
    stopped = status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return About(pid, name, user, mine, stopped, tuple(argv), env)


def of_file(told: Connection) -> Process | None:
    """Return the live process that wrote a connection file, wherever that is."""
    for process in running():
        if process.info["key"] == told.info["key"]:
            return process
    seen = _seen(told, told.pid, {}) if _holds_its_own(told) else None
    return _described({told.pid: seen}, {})[0] if seen is not None else None
