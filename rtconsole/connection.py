"""Reading connection files: is it one, is it a console's, and what does it say.

They are written by :mod:`.listener` and read here, perhaps by root and from a folder where
anybody can put anything: so a file is opened without following links, read to a limit, and
each field that is used is checked. Whether the process still lives, :mod:`.processes` knows.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import BadConnectionFile, NotAllowed

# The second number is the pid namespace's, where two containers with one folder have equal pids.
FILE_NAME = re.compile(r"kernel-rt-([1-9][0-9]{0,9})(?:-[0-9]+)?\.json")
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")

_LONGEST = 1 << 24  # bytes; no command line is as long
_STATES = {"dormant": "dormant", "idle": "active", "busy": "busy"}


@dataclass(frozen=True, slots=True)
class Connection:
    """What a connection file says, as its process saw it when it started.

    Attributes:
        path: the file's.
        uid: its owner (-1 where there are no users).
        info: all that it says; what a client needs.
        pid: of the process, as the process itself sees it.
        pid_namespace: in which it has that pid: the inode of its ``/proc/self/ns/pid``, or 0.
        machine: name of the one that it runs on, empty if unknown.
        create_time: when it started, in seconds since the epoch.
        argv: its command line, the interpreter first.
        cwd: its working folder then, ``None`` if that had been deleted.
        state: ``dormant``, ``active``, ``busy``, or ``unknown``.
        clients: how many are attached.
    """

    path: str
    uid: int
    info: dict[str, Any]
    pid: int
    pid_namespace: int
    machine: str
    create_time: float
    argv: tuple[str, ...]
    cwd: str | None
    python: str
    executable: str
    version: str
    state: str
    clients: int

    @property
    def label(self) -> str:
        """What a person calls the program: ``counter.py``, ``http.server``."""
        return str(self.info["kernel_name"]).removesuffix(f" ({self.pid})")

    def sockets(self) -> list[str]:
        """Return the paths of its Unix sockets, in the order of ``CHANNELS``; none with TCP."""
        if self.info["transport"] != "ipc":
            return []
        return [f"{self.info['ip']}-{self.info[f'{channel}_port']}" for channel in CHANNELS]


def read(path: str) -> Connection:
    """Return what the connection file at ``path`` says.

    Raises:
        BadConnectionFile: it is not there, damaged, or not one of a console.
        NotAllowed: this user may not read it.
    """
    data, uid = _contents(path)
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):  # also what is no UTF-8
        raise BadConnectionFile(f"{path} is no connection file, or a damaged one") from None
    if not isinstance(info, dict) or "shell_port" not in info:
        raise BadConnectionFile(f"{path} is no connection file")
    ours = info.get("rtconsole")
    if ours is None:
        raise BadConnectionFile(
            f"{path} is of a Jupyter kernel of its own, not of a console in a program;"
            f" try: jupyter console --existing {path}"
        )
    try:
        return _checked(path, uid, info, ours)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise BadConnectionFile(f"{path} is a damaged connection file") from None


def _contents(path: str) -> tuple[bytes, int]:
    """Return what a regular file holds, and whose it is."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        try:
            # Jupyter's `--existing` takes the file that was read last: looking is no reading
            fd = os.open(path, flags | getattr(os, "O_NOATIME", 0))
        except PermissionError:  # only its owner may ask for that
            fd = os.open(path, flags)
    except PermissionError:
        raise NotAllowed(f"{path} belongs to another user; only they and root can attach") from None
    except (FileNotFoundError, NotADirectoryError):
        raise BadConnectionFile(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise BadConnectionFile(f"{path} cannot be read: {error}") from None
    try:
        found = os.fstat(fd)
        if os.name == "posix" and os.geteuid() not in (0, found.st_uid):
            # readable, and where ours would be: who attached would talk to whoever planted it
            raise NotAllowed(f"{path} belongs to another user; only they and root can attach")
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST:
            raise BadConnectionFile(f"{path} is no connection file")
        with open(fd, "rb", closefd=False) as file:
            return file.read(_LONGEST), found.st_uid if os.name == "posix" else -1
    finally:
        os.close(fd)


def _checked(path: str, uid: int, info: dict[str, Any], ours: dict[str, Any]) -> Connection:
    """Raises what :func:`read` catches where a field is not what it should be."""
    _check_address(info)
    if not isinstance(info["kernel_name"], str):
        raise TypeError
    argv, cwd = ours["argv"], ours["cwd"]
    if type(ours["pid"]) is not int or not isinstance(argv, list):
        raise TypeError
    if not all(isinstance(word, str) for word in argv) or not isinstance(cwd, str | None):
        raise TypeError
    if not 0 < ours["pid"] < 1 << 31 or "\0" in (cwd or "") or "host" in ours:
        raise ValueError  # a host is what a connection over ssh has
    os.fsencode(cwd or "")
    if not math.isfinite(float(ours["create_time"])):
        raise ValueError
    state, _, clients = str(ours.get("status", "")).partition(" ")
    return Connection(
        path=path,
        uid=uid,
        info=info,
        pid=ours["pid"],
        pid_namespace=int(ours.get("pid_namespace", 0)),
        machine=str(ours.get("machine", "")),
        create_time=float(ours["create_time"]),
        # an interpreter that C has started has no command line, but the program has a name
        argv=tuple(argv) or (info["kernel_name"].removesuffix(f" ({ours['pid']})"),),
        cwd=cwd,
        python=str(ours["python"]),
        executable=str(ours["executable"]),
        version=str(ours["version"]),
        state=_STATES.get(state, "unknown"),
        clients=int(clients or 0),
    )


def _check_address(info: dict[str, Any]) -> None:
    """Check what a client is given to connect with: nothing but this machine's sockets.

    Raises:
        KeyError, TypeError, ValueError: it is not what a listener writes.
    """
    for channel in CHANNELS:
        port = info[f"{channel}_port"]
        if type(port) is not int:
            raise TypeError
        if not 0 < port < 1 << 16:
            raise ValueError
    ip = info["ip"]
    if {"tcp": True, "ipc": False}[info["transport"]]:
        if ip != "127.0.0.1":
            raise ValueError
    elif "\0" in ip or not os.path.isabs(os.fsencode(ip)):
        raise ValueError
    for name in ("key", *(name for name in ("curve_publickey", "curve_secretkey") if name in info)):
        if not info[name].isascii() or ("curve" in name and len(info[name]) != 40):
            raise ValueError
    if info["signature_scheme"] != "hmac-sha256":
        raise ValueError


def program(argv: Sequence[str]) -> tuple[str, ...]:
    """Return what a command line runs, without the interpreter and its options.

    The script's path, or ``-m module``, or ``-c command``, and the arguments; the
    interpreter if that is all there is. https://docs.python.org/3/using/cmdline.html
    """
    at = 1
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return tuple(argv[at + 1 :])
        if word == "-" or not word.startswith("-"):
            return tuple(argv[at:])
        at += 1
        if word.startswith("--"):
            at += word == "--check-hash-based-pycs"
            continue
        for number, letter in enumerate(word[1:], start=2):
            if letter in "cm":
                joined = [word[number:]] if word[number:] else []
                return f"-{letter}", *joined, *argv[at:]
            if letter in "WX":
                at += number == len(word)
                break
    return tuple(os.path.basename(word) for word in argv[:1])


def shown(words: Iterable[str]) -> str:
    """Return a command line as text for a terminal: quoted, with nothing that controls it."""
    return " ".join(_quoted(printable(word)) for word in words)


def _quoted(word: str) -> str:
    return f"'{word}'" if not word or " " in word else word


def printable(text: str) -> str:
    """Return ``text`` with what does not print, or would control a terminal, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
