"""What dead processes left behind: a process that ends, or is forked, removes it.

Who is killed by a signal or ends by ``os._exit``, as multiprocessing's forked workers do,
cannot remove its own files; a server that recycles its workers would fill the folders. Never
removes what a live process may have, here, in a container, or on another machine. Standard
library only, never raises.
"""

import _socket
import errno
import os
import stat
import time

from . import dumps, pid_namespace
from .listener import CHANNELS, file_name, note, system, tried, unlink

# A connection file is some hundred bytes long, and an argv can be any length.
_LONGEST = 1 << 20
# No process takes so many seconds to write one, whatever machine it writes it from.
_OLD = 60.0


def sweep(folder: str, sockets: str = "") -> None:
    """Remove connection files and sockets of processes that are no more, of this user's.

    Args:
        folder: of the connection files.
        sockets: of Unix sockets; if given, those go too that no file speaks of.
    """
    try:
        if hasattr(os, "getpgid"):
            for name in os.listdir(folder):
                pid = _pid(name)
                if pid and _is_gone(pid):
                    _remove(folder, name, pid)
                elif name.startswith(".kernel-rt-") and name.endswith(".tmp"):
                    _remove_unfinished(f"{folder}/{name}")
            if sockets:
                _sweep_sockets(sockets, {_pid(name) for name in os.listdir(folder)})
    except OSError as error:
        note("what dead processes left stays", error)


def forget(folder: str) -> None:
    """Remove the connection file that this very process had before an exec, or has begun."""
    pid = os.getpid()
    unlink(f"{folder}/.{file_name(pid)}.{pid_namespace()}.tmp")
    for name in (file_name(pid), other_name(pid)):
        if is_of(pid, read(f"{folder}/{name}")):
            remove_file(folder, name)


def remove_file(folder: str, name: str) -> None:
    """Remove both names of a connection file; one that is gone is fine."""
    unlink(f"{folder}/{name}")
    unlink(f"{folder}/external_kernels/{name}")


def other_name(pid: int) -> str:
    """Return the name of our file where the usual one is another's, with the same pid."""
    return file_name(pid).replace(".json", f"-{pid_namespace()}.json")


def read(path: str) -> bytes:
    """Return what a connection file of this user's says; nothing if it is none, or gone."""
    try:
        fd = system.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != system.geteuid():
            return b""
        return bytes(system.read(fd, min(found.st_size, _LONGEST)))
    finally:
        system.close(fd)


def is_of(pid: int, text: bytes) -> bool:
    """Tell whether that is the file of the process that has this pid here, or had.

    Folders are shared between machines and containers, where the pid may be somebody's.
    """
    machine = dumps(_socket.gethostname())
    wanted = f'"pid_namespace": {pid_namespace()}, "machine": {machine}, "pid": {pid},'
    return wanted.encode() in text


def is_listening(address: str) -> bool:
    """Tell whether somebody, in whatever container, may have a Unix socket at that path.

    To connect with a datagram socket is refused before the other one notices: by EPROTOTYPE
    if there is a stream socket, by ECONNREFUSED if nobody has it open (unix(7)).
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        sock.connect(address)
    except OSError as error:
        return error.errno not in (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR)
    finally:
        sock.close()
    return True


def _pid(name: str) -> int:
    """Return the pid in a connection file's name, 0 if it is none of ours."""
    if not name.startswith("kernel-rt-") or not name.endswith(".json"):
        return 0
    number = name[len("kernel-rt-") : -len(".json")].partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _is_gone(pid: int) -> bool:
    """Tell whether there is no such process, a zombie being one.

    Not by ``os.kill``, which an audit hook is told of and a program's test may replace.
    """
    try:
        os.getpgid(pid)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _remove(folder: str, name: str, pid: int) -> None:
    text = read(f"{folder}/{name}")
    if not is_of(pid, text):
        return
    start = text.find(b'"ip": "/') + len(b'"ip": "')
    address = os.fsdecode(text[start : text.find(b'"', start)]) if start > len(b'"ip": "') else ""
    if address and is_listening(f"{address}-1"):
        return
    remove_file(folder, name)
    parent, base = os.path.split(address)
    if base.partition(".")[0] == str(pid) and os.path.basename(parent).startswith("rtconsole"):
        _remove_sockets(address)


def _sweep_sockets(folder: str, told_of: set[int]) -> None:
    """Remove sockets of processes that were killed before a file could tell of them.

    A pool's worker, for one, that is terminated as soon as it is there.
    """
    for name in os.listdir(folder):
        number = name.partition("-")[0].partition(".")[0]  # see Listener.bind
        # each has a first one, which is removed last
        if name.endswith("-1") and number.isdigit() and len(number) < 10:
            pid = int(number)
            if pid not in told_of and _is_gone(pid) and not is_listening(f"{folder}/{name}"):
                _remove_sockets(f"{folder}/{name[:-2]}")


def _remove_sockets(address: str) -> None:
    for number in range(len(CHANNELS), 0, -1):
        path = f"{address}-{number}"
        try:
            left = system.lstat(path)
        except OSError:
            continue
        if stat.S_ISSOCK(left.st_mode) and left.st_uid == system.geteuid():
            unlink(path)


def _remove_unfinished(path: str) -> None:
    """Remove a connection file that was being written, unless somebody may still be at it."""
    left = tried(lambda: system.lstat(path), None)  # it may just have been finished
    if left and left.st_uid == system.geteuid() and abs(time.time() - left.st_mtime) > _OLD:
        unlink(path)
