"""System calls with the interpreter's lock held: no other thread runs Python between them.

`os` lets go of it in each of its calls, and another thread may then close a descriptor, or close
it once more, or put another file there. These are to take little time: nothing that waits for a
disk, a peer or a server in this very process. Between two bytecodes Python lets another thread
run all the same, if that has waited for a switch interval, 5 ms by default, in which a busy machine
may not have got far. In :meth:`AtOnce.meanwhile` there are no bytecodes.

Linux only.
"""

import ctypes
import os
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import compress, repeat
from operator import add, and_, call, iconcat, itemgetter, le, lt
from typing import Any

from rtconsole import descriptors

# Numbers below this one are looked at, so many at once.
_HIGHEST, _SOME = 512, 64

# statx(2), since older C libraries have no fstat(2): where inode and device are in what it tells.
_AT_EMPTY_PATH, _STATX_INO, _SIZE, _INODE_AT, _DEVICE_AT = 0x1000, 0x100, 256, 32, 136

# fcntl(2), memfd_create(2); `fcntl` is not everywhere.
_F_GETFD, _F_GETFL, _F_DUPFD_CLOEXEC, _MFD_CLOEXEC = 1, 3, 1030, 1


class AtOnce(descriptors.Calls):
    """The calls that it takes to hold numbers, and to wait for libzmq meanwhile."""

    def __init__(self) -> None:
        """
        Raises:
            AttributeError, OSError: this C library has not got them all.
        """
        self.libc: Any = ctypes.PyDLL(None, use_errno=True)
        self.libc.memfd_create, self.libc.statx, self.libc.epoll_ctl  # noqa: B018
        quick: Any = ctypes.PyDLL(None)  # three times as fast as one that keeps errno
        self._fcntl, self._usleep = quick.fcntl, quick.usleep

    def used(self) -> list[int]:
        count = os.stat("/proc/self/fd").st_size or _HIGHEST  # 0 before Linux 6.2, proc(5)
        found: list[int] = []
        for low in range(0, _HIGHEST, _SOME):
            if len(found) < count:
                some = range(low, low + _SOME)
                looks = map(self._fcntl, some, repeat(_F_GETFD))
                found += [fd for fd, flags in zip(some, looks, strict=True) if flags >= 0]
        return found

    def root(self) -> int:
        return _checked(self.libc.open(b"/", os.O_PATH | os.O_CLOEXEC))

    def placeholder(self) -> int:
        memory = _checked(self.libc.memfd_create(descriptors.NAME.encode(), _MFD_CLOEXEC))
        try:
            path = f"/proc/self/fd/{memory}".encode()
            return _checked(self.libc.open(path, os.O_PATH | os.O_CLOEXEC))
        finally:
            self.libc.close(memory)

    def identity(self, fd: int) -> tuple[int, int]:
        status = ctypes.create_string_buffer(_SIZE)
        _checked(self.libc.statx(fd, b"", _AT_EMPTY_PATH, _STATX_INO, status))
        device = os.makedev(*struct.unpack_from("@II", status, _DEVICE_AT))
        return device, struct.unpack_from("@Q", status, _INODE_AT)[0]

    def dup(self, fd: int) -> int:
        return _checked(self.libc.fcntl(fd, _F_DUPFD_CLOEXEC, 0))

    def close(self, fd: int) -> None:
        _checked(self.libc.close(fd))

    def meanwhile(
        self,
        begin: Callable[[], object],
        end: Callable[[], object],
        highest: int,
        looks: int,
        pause: int,
    ) -> bool:
        """Have libzmq open a descriptor while all numbers up to ``highest`` are held.

        Args:
            begin: what tells libzmq, and ``end`` that it is not to any more, which it knows
                if it has; functions in C.
            looks: how often to look whether it has, ``pause`` microseconds each.

        Returns:
            Whether it has.

        Raises:
            OSError: none can be held.
        """
        placeholder, taken = self.placeholder(), list[int]()
        identity = self.identity(placeholder)
        dups = map(
            self._fcntl, repeat(placeholder, highest + 2), repeat(_F_DUPFD_CLOEXEC), repeat(0)
        )
        last = itemgetter(-1)
        fill = map(lt, repeat(highest), map(last, map(iconcat, repeat(taken), zip(dups))))
        flags = map(self._fcntl, map(last, repeat(taken, looks)), repeat(_F_GETFD))
        # a thread that was in a system call, and not in Python, may have put its own file there
        ours = map(and_, map(self._fcntl, taken, repeat(_F_GETFL)), repeat(os.O_PATH))
        steps: list[Callable[[], Any]] = [
            partial(any, fill),  # the last one taken is above the highest
            partial(deque, map(self.libc.close, map(last, (taken,))), 0),  # it is the next one's
            begin,
            partial(any, map(le, repeat(0), map(add, map(self._usleep, repeat(pause)), flags))),
            end,
            taken.pop,
            partial(deque, map(self.libc.close, compress(taken, ours)), 0),
        ]
        try:
            return bool(list(map(call, steps))[3])
        finally:
            descriptors.close_if_same(placeholder, identity)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def install(note: Callable[[str], None]) -> AtOnce | None:
    """Hold numbers so from now on, where that can be done."""
    if not os.path.exists("/proc/self/fdinfo"):
        return None
    try:
        at_once = AtOnce()
    except Exception as error:  # protects the kernel: an audit hook that forbids ctypes
        note(f"a client may get a number that the program has used: {error}")
        return None
    descriptors.use(at_once)
    return at_once
