"""Where the processes of this machine write their connection files: folders, users, mounts.

Read from ``/proc`` where there is one, since it may be a thousand processes; a container's
files are reached through ``/proc/<pid>/root``.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from . import connection, folders

# What tells where a process writes its connection file; the paths among them may be relative.
_PATHS = ("HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "TMPDIR", "TEMP")
_ENVIRONMENT = frozenset(
    (*_PATHS, "XDG_DATA_HOME", "JUPYTER_PLATFORM_DIRS", "APPDATA", "LOCALAPPDATA")
)
_LINUX = sys.platform == "linux"

# Tells a process's effective user (-1 where there are none) and environment, or None.
Ask = Callable[[int], tuple[int, Mapping[str, str]] | None]


class View(NamedTuple):
    """Which files and pids a process sees: two in one container have the same."""

    mounts: str
    pids: str
    root: str

    def has_pids_of(self, namespace: int) -> bool:
        """Tell whether a pid means the same here as in a namespace (0: that is not known)."""
        return not namespace or not self.pids or self.pids == f"pid:[{namespace}]"


class Place(NamedTuple):
    """A folder as the processes of a view see it, and how it is reached from here."""

    view: View
    folder: str
    reached: str


def find(pids: list[int], here: View, ask: Ask) -> tuple[list[Place], dict[View, list[int]]]:
    """Return the folders in which the processes' files may be, and the pids of each view.

    Args:
        here: this process's own.
        ask: asks a process for its environment where there is no ``/proc``.
    """
    places: dict[tuple[View, str], Place] = {}
    members: dict[View, list[int]] = {}
    seen: set[tuple[View, int, tuple[tuple[str, str], ...]]] = set()

    def add(seer: View, pid: int, uid: int, env: Mapping[str, str]) -> None:
        root = "" if (seer.mounts, seer.root) == (here.mounts, here.root) else f"/proc/{pid}/root"
        for folder in _folders_of(env, uid):
            places.setdefault((seer, folder), Place(seer, folder, root + folder))

    own = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    add(here, os.getpid(), os.geteuid() if os.name == "posix" else -1, own)
    for pid in pids:
        found = environment(pid) if _LINUX else ask(pid)
        seer = view(pid) if _LINUX else here
        if found is None or seer is None:
            continue
        uid, env = found
        env = {name: value for name, value in env.items() if name in _ENVIRONMENT}
        members.setdefault(seer, []).append(pid)
        key = seer, uid, tuple(sorted(env.items()))
        if key not in seen:
            seen.add(key)
            add(seer, pid, uid, env)
    return list(places.values()), members


def environment(pid: int) -> tuple[int, dict[str, str]] | None:
    """Return a process's user and the variables that matter, if we may see them. Linux only."""
    try:
        # as psutil does, without looking at what does not matter: it may be 1,000 processes
        fd = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
        try:
            uid, data = os.fstat(fd).st_uid, os.read(fd, 1 << 22)
        finally:
            os.close(fd)
        if not uid:  # root's, or of a process that has become another user: only its folder tells
            uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    if not data:  # a thread of the operating system's, or a dead process
        return None
    env = {}
    for entry in data.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if (text := name.decode("ascii", "replace")) in _ENVIRONMENT:
            env[text] = os.fsdecode(value)
    for text in _PATHS:
        if not env.get(text, "/").startswith("/"):
            try:
                env[text] = os.path.join(os.readlink(f"/proc/{pid}/cwd"), env[text])
            except OSError:
                del env[text]
    return uid, env


def library_of_python(pid: int) -> str:
    """Return the path of the library by which a program in C has Python in it, or ``""``."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            found = re.search(r" (/.*/libpython3[^/]*\.so[^/]*)$", file.read(), re.MULTILINE)
    except OSError:  # not ours to see
        return ""
    return found[1] if found else ""


def view(pid: int | str) -> View | None:
    """Return what a process (or ``"self"``) sees, ``None`` if that is not ours to know."""
    if not _LINUX:
        return View("", "", "/")
    base = f"/proc/{pid}"
    try:
        mounts, pids = os.readlink(f"{base}/ns/mnt"), os.readlink(f"{base}/ns/pid")
        return View(mounts, pids, os.readlink(f"{base}/root"))
    except OSError:  # not ours to see, or gone
        return None


def _folders_of(env: Mapping[str, str], uid: int) -> Iterator[str]:
    """Yield the folders where a process of that user and environment writes its file."""
    homes = [env["HOME"]] if env.get("HOME") else []
    if os.name == "posix":
        import pwd

        try:
            homes.append(pwd.getpwuid(uid).pw_dir)
        except KeyError:
            pass
    else:
        homes.append("~")
    for home in dict.fromkeys(homes):
        try:
            yield folders.runtime_dir(env, sys.platform, home)
        except OSError:
            pass  # a home that is no path
    yield folders.temporary_dir(env, uid)


def files(folder: str) -> list[tuple[str, int]]:
    """Return the names of consoles' connection files, each with the pid in it."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    matches = map(connection.FILE_NAME.fullmatch, names)
    return [(found.string, int(found[1])) for found in matches if found]


def inner_pids(pids: list[int]) -> dict[int, int]:
    """Return, for processes of one container, our pid of each by its own."""
    inner = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                # proc(5): the pid in each namespace, the innermost last
                found = re.search(r"^NSpid:.*\t([0-9]+)$", file.read(), re.MULTILINE)
        except OSError:
            continue
        if found:
            inner[int(found[1])] = pid
    return inner


def bound_sockets(pid: int | str = "self") -> set[str] | None:
    """Return the paths of the Unix sockets bound in the network of a process, by anybody.

    ``None`` where they cannot be told.
    """
    try:
        with open(f"/proc/{pid}/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            return {"/" + line.rstrip("\n").partition(" /")[2] for line in file}
    except OSError:
        return None


def is_mine(path: str) -> bool:
    """Tell whether a file is there and this user's."""
    try:
        return os.name != "posix" or os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def is_folder_of(path: str, uid: int) -> bool:
    """Tell whether a folder, if it is there, is one of this user's, to write to for nobody else.

    Among temporary files without the sticky bit (a container's, often) anybody can put another
    in its place, or a link, and would be told what is typed; likewise in one opened since.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return True
    is_kept = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022
    return os.name != "posix" or (is_kept and found.st_uid == uid)
