"""System calls with the interpreter's lock held: no other thread runs Python between them.

`os` lets go of it in each of its calls, and another thread may then close a descriptor, or close
it once more, or put another file there. These are to take little time: nothing that waits for a
disk, a peer or a server in this very process. Between two bytecodes Python lets another thread
run all the same, if that has waited for a switch interval, 5 ms by default, in which a busy machine
may not have got far. In :meth:`AtOnce.meanwhile` there are no bytecodes.

Linux only.
"""

import os
import select
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import compress, islice, repeat
from operator import add, and_, call, eq, ge, gt, iconcat, itemgetter, not_, or_
from typing import Any

from rtconsole import descriptors

from .foreign import ctypes

# Numbers below this one are looked at, so many at once.
_HIGHEST, _SOME = 512, 64

# statx(2), since older C libraries have no fstat(2): what it tells, and where in that it is.
_AT_EMPTY_PATH, _STATX_INO, _STATX_SIZE, _LENGTH = 0x1000, 0x100, 0x200, 256
_INODE_AT, _SIZE_AT, _DEVICE_AT = descriptors.INODE.start, 40, descriptors.DEVICE.start

# fcntl(2), memfd_create(2), prctl(2); `fcntl` is not everywhere.
_F_GETFD, _F_GETFL, _F_DUPFD_CLOEXEC, _MFD_CLOEXEC = 1, 3, 1030, 1
_O_PATH = getattr(os, "O_PATH", 0)
_FLAGS = _O_PATH | -1 << 31  # and whether there are any: what there are is not below 0
_TIMERSLACK = 29  # nanoseconds, 0 for the default

# socket(2), sock_diag(7): what asks for a Unix socket's backlog, and what tells of it. 512 wait at
# most, of four bytes each.
_NETLINK, _RAW, _SOCK_DIAG, _BY_FAMILY, _REQUEST, _DONTWAIT = 16, 3, 4, 20, 1, 0x40
_UNIX, _ALL, _NO_COOKIE, _SHOW_BACKLOG, _BACKLOG = 1, (1 << 32) - 1, (1 << 64) - 1, 8, 3
_QUESTION, _MOST = "=IHHIIBBHIIIQ", 8192
_TOLD = 32  # bytes before its attributes


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
        self._fcntl, self._usleep, self._poll = quick.fcntl, quick.usleep, quick.poll
        self._prctl, self._accept4, self._close = quick.prctl, quick.accept4, quick.close
        self._statx = quick.statx
        # an off_t is a long, and may be an address in /proc/self/mem
        self.libc.pread.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long
        self.libc.pread.restype = ctypes.c_ssize_t

    def count(self) -> int:
        status = ctypes.create_string_buffer(_LENGTH)
        # the path is absolute, and so no descriptor of a folder matters
        _checked(self.libc.statx(-1, b"/proc/self/fd", 0, _STATX_SIZE, status))
        return int(struct.unpack_from("@Q", status, _SIZE_AT)[0])

    def used(self) -> list[int]:
        count = self.count() or _HIGHEST
        found: list[int] = []
        for low in range(0, _HIGHEST, _SOME):
            if len(found) < count:
                some = range(low, low + _SOME)
                looks = map(self._fcntl, some, repeat(_F_GETFD))
                found += [fd for fd, flags in zip(some, looks, strict=True) if flags >= 0]
        return found

    def root(self) -> int:
        return _checked(self.libc.open(b"/", _O_PATH | os.O_CLOEXEC))

    def placeholder(self) -> int:
        memory = _checked(self.libc.memfd_create(descriptors.NAME.encode(), _MFD_CLOEXEC))
        try:
            path = f"/proc/self/fd/{memory}".encode()
            return _checked(self.libc.open(path, _O_PATH | os.O_CLOEXEC))
        finally:
            self.libc.close(memory)

    def identity(self, fd: int) -> tuple[int, int]:
        status = ctypes.create_string_buffer(_LENGTH)
        _checked(self.libc.statx(fd, b"", _AT_EMPTY_PATH, _STATX_INO, status))
        device = os.makedev(*struct.unpack_from("@II", status, _DEVICE_AT))
        return device, struct.unpack_from("@Q", status, _INODE_AT)[0]

    def asking(self, fd: int) -> tuple[Callable[[], Any], Any]:
        status = ctypes.create_string_buffer(_LENGTH)
        return partial(self._statx, fd, b"", _AT_EMPTY_PATH, _STATX_INO, status), status

    def is_readable(self, fd: int) -> bool:
        """Tell whether poll(2) says so."""
        return bool(self._poll(_polled(fd), 1, 0) > 0)

    def backlog(self, inode: int) -> tuple[int, ...]:
        """Return who waits at a listening Unix socket, the first first: 0 for who has hung up.

        Raises:
            OSError: the system does not tell.
        """
        netlink = _checked(self.libc.socket(_NETLINK, _RAW | os.O_CLOEXEC, _SOCK_DIAG))
        try:
            head = struct.calcsize(_QUESTION), _BY_FAMILY, _REQUEST, 0, 0
            about = _UNIX, 0, 0, _ALL, inode & _ALL, _SHOW_BACKLOG, _NO_COOKIE
            question = struct.pack(_QUESTION, *head, *about)
            _checked(self.libc.send(netlink, question, len(question), _DONTWAIT))
            answer = ctypes.create_string_buffer(_MOST)
            size = _checked(self.libc.recv(netlink, answer, _MOST, _DONTWAIT))
            told = answer.raw[:size]
        finally:
            self.libc.close(netlink)
        if len(told) < _TOLD or struct.unpack_from("=H", told, 4)[0] != _BY_FAMILY:
            raise OSError("there is no such socket")
        at = _TOLD
        while at + 4 <= len(told):
            size, kind = struct.unpack_from("=HH", told, at)
            if kind == _BACKLOG:
                return struct.unpack_from(f"={size // 4 - 1}I", told, at + 4)
            at += max(size + 3 & ~3, 4)
        return ()

    def turn_away(self, fd: int, number: int) -> None:
        """Accept connections of a listening socket that does not block, and close them."""
        accepted = map(
            self._accept4, repeat(fd, number), repeat(None), repeat(None), repeat(os.O_CLOEXEC)
        )
        deque(map(self._close, accepted), 0)

    def dup(self, fd: int) -> int:
        return self.dup_above(fd, 0)

    def dup_above(self, fd: int, lowest: int) -> int:
        return _checked(self.libc.fcntl(fd, _F_DUPFD_CLOEXEC, lowest))

    def read(self, path: str, size: int, at: int = 0) -> bytes:
        fd = _checked(self.libc.open(path.encode(), os.O_RDONLY | os.O_CLOEXEC))
        try:
            held = ctypes.create_string_buffer(size)
            count = _checked(self.libc.pread(fd, held, size, at))
            return bytes(held.raw[:count])
        finally:
            self.libc.close(fd)

    def close(self, fd: int) -> None:
        _checked(self.libc.close(fd))

    def meanwhile(
        self,
        begin: Callable[[], object],
        end: Callable[[], object],
        goes_on: Callable[[], bool],
        epoll: int,
        highest: int,
        looks: tuple[int, int, int],
        pause: int,
    ) -> int:
        """Have libzmq open descriptors, one by one, while all numbers up to ``highest`` are held.

        It may close one at once, where nobody is at the other end any more; then all that can be
        seen is that it was told.

        Args:
            begin: what tells libzmq, and ``end`` that it is not to any more, which it knows
                if it has; functions in C.
            goes_on: asked before each but the first.
            epoll: by which it is told: readable until it is, epoll(7).
            looks: how often to look whether it is; and then whether it has, the first and
                the others; ``pause`` microseconds each.

        Returns:
            How often it has, for all that can be seen.

        Raises:
            OSError: none can be held.
        """
        placeholder, taken = self.placeholder(), list[int]()
        identity, asked, count = self.identity(placeholder), _polled(epoll), 0
        dups = map(self._fcntl, repeat(placeholder), repeat(_F_DUPFD_CLOEXEC), repeat(0))
        last = itemgetter(-1)
        fill = map(gt, map(last, map(iconcat, repeat(taken), zip(dups))), repeat(highest))
        flags = map(self._fcntl, map(last, repeat(taken)), repeat(_F_GETFD))
        is_open = map(ge, flags, repeat(0))
        is_told = map(not_, map(self._poll, repeat(asked), repeat(1), repeat(0)))
        is_either = map(or_, is_open, is_told)
        try:
            while not count or goes_on():
                then = looks[2] if count else looks[1]
                steps: list[Callable[[], Any]] = [
                    partial(self._prctl, _TIMERSLACK, 1),  # else each look takes 70 microseconds
                    partial(any, islice(fill, highest + 2)),  # the last one is above the highest
                    # its number is the next one's
                    partial(deque, map(self.libc.close, map(last, (taken,))), 0),
                    begin,
                    partial(any, map(add, map(self._usleep, repeat(pause, looks[0])), is_either)),
                    partial(any, map(add, map(self._usleep, repeat(pause, then)), is_open)),
                    end,
                    partial(self._prctl, _TIMERSLACK, 0),  # as before
                    taken.pop,
                ]
                if not list(map(call, steps))[4]:
                    break
                count += 1
            return count
        finally:
            # a thread that was in a system call, and not in Python, may have put its own file there
            flags = map(self._fcntl, taken, repeat(_F_GETFL))  # below 0 if it is closed
            ours = map(eq, map(and_, flags, repeat(_FLAGS)), repeat(_O_PATH))
            deque(map(self.libc.close, compress(taken, ours)), 0)
            descriptors.close_if_same(placeholder, identity)


def _polled(fd: int) -> Any:
    """Return a struct pollfd, poll(2)."""
    return ctypes.create_string_buffer(struct.pack("@ihh", fd, select.POLLIN, 0))


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
