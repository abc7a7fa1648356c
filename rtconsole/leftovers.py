"""What dead processes left behind: a process that ends, or is forked, removes it.

Who is killed by a signal or ends by ``os._exit``, as multiprocessing's forked workers do,
cannot remove its own files; a server that recycles its workers would fill the folders. Never
removes what a live process may have, here, in a container, or on another machine. Standard
library only, never raises.
"""

import _socket
import os
import stat

from .listener import CHANNELS, dumps, note, remove_file, unlink

# A connection file is some hundred bytes long, and an argv can be any length.
_LONGEST = 1 << 20


def sweep(folder: str) -> None:
    """Remove connection files and sockets of processes that are no more, of this user's.

    Args:
        folder: of the connection files.
    """
    try:
        if hasattr(os, "getpgid"):
            dead = [pid for pid in map(_pid, os.listdir(folder)) if pid and _is_gone(pid)]
            bound = _bound_sockets() if dead else b""
            for pid in dead:
                _remove(folder, pid, bound)
    except OSError as error:
        note("what dead processes left stays", error)


def _pid(name: str) -> int:
    """Return the pid in a connection file's name, 0 if it is none of ours."""
    middle = name[len("kernel-rt-") : -len(".json")]
    ours = name == f"kernel-rt-{middle}.json" and middle.isascii() and middle.isdigit()
    return int(middle) if ours and len(middle) < 10 else 0


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


def _bound_sockets() -> bytes | None:
    """Return the text that has the Unix sockets that somebody has bound; off Linux nothing."""
    try:
        with open("/proc/self/net/unix", "rb") as file:
            return file.read()
    except OSError:
        return None


def _remove(folder: str, pid: int, bound: bytes | None) -> None:
    name = f"kernel-rt-{pid}.json"
    try:
        fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # somebody else was faster
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return
        text = os.read(fd, _LONGEST)
    finally:
        os.close(fd)
    # folders are shared between machines and containers, where the pid may be somebody's
    if f'"machine": {dumps(_socket.gethostname())}, "pid": {pid},'.encode() not in text:
        return
    start = text.find(b'"ip": "/') + len(b'"ip": "')
    address = os.fsdecode(text[start : text.find(b'"', start)]) if start > len(b'"ip": "') else ""
    if bound is not None and address and f" {address}-1\n".encode() in bound:
        return
    remove_file(folder, name)
    parent, base = os.path.split(address)
    if base == str(pid) and os.path.basename(parent).startswith("rtconsole"):
        for number in range(1, len(CHANNELS) + 1):
            path = f"{address}-{number}"
            try:
                left = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISSOCK(left.st_mode) and left.st_uid == os.geteuid():
                unlink(path)
