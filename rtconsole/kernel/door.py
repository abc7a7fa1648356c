"""Who is let in, and when: no connection takes a descriptor that the program may need.

libzmq accepts whatever comes, and where no descriptor is left for it ends the process by
abort() (4.3.5, ipc_listener.cpp; over tcp it tries again without a pause). So its listening
sockets are muted, and each connection is let in by hand: the socket is armed to tell libzmq
of one event (EPOLLONESHOT, epoll_ctl(2)), on which it accepts one connection, and muted again.
While descriptors are scarce, who knocks waits in the backlog; and of a crowd there, who has hung up
meanwhile is turned away here, for a twentieth of what it costs to have libzmq do it.

Nor does a connection get a number that the program has used (see `rtconsole.descriptors`), and no
thread runs Python from before those are held until libzmq has accepted: it might close a descriptor
just then, whose number the connection would get, and close it once more. On a machine so busy that
libzmq does not get to it, it accepts while the program runs after all.

Linux only; elsewhere libzmq accepts as ever.
"""

import platform
import re
import select
import struct
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from operator import not_
from typing import Any, NamedTuple

from rtconsole import descriptors
from rtconsole.debuglog import system

from .atonce import AtOnce

# epoll_ctl(2): EPOLL_CTL_MOD; nothing; EPOLLIN and EPOLLONESHOT. The struct is packed on x86-64.
_MOD, _MUTED, _ONE = 3, 0, 1 | 1 << 30
_EVENT = "=IQ" if platform.machine() == "x86_64" else "@IQ"

# Seconds: until libzmq is looked at again whether it listens by now, and how often; until the
# next is let in, which libzmq takes a fraction of, until it surely is, and beside somebody who
# harasses us; until scarce descriptors are looked at again.
_SOON, _TRIES, _NEXT, _ACCEPTED, _SLOWLY, _LATER = 0.01, 200, 0.001, 0.05, 1.0, 0.5

# How many who have knocked already are let in at once: a computing program has the interpreter for
# 5 ms whenever it is let go of, several times between two. If there are more than that, how many of
# those who have hung up are turned away at once, a hundredth of a millisecond each; and how many
# times as long as it took nothing is done.
_CROWD, _GONE, _REST = 16, 200, 10

# Microseconds between two looks whether libzmq was told, and then whether it has accepted, and how
# many: the program stands still meanwhile, usually for a sixth of a millisecond; of who has hung
# up, as many of a crowd have, nothing is seen. And how often libzmq may be late, on a busy machine,
# before it is left to accept while the program runs, whose numbers are in danger then: one in
# twenty-five times it is late where ten want to run on two processors.
_LOOK, _LOOKS, _LATE = 20, (30, 20, 3), 8

# How many numbers beyond those that are used the program may have used: all that may be held; and
# beside somebody who harasses us or a crowd, which would cost the program a fiftieth of its time.
_BEYOND, _FEW = 64, 4


class _Place(NamedTuple):
    """Where libzmq waits for connections: its epoll, and its socket and mark there."""

    epoll: int
    fd: int
    inode: int
    mark: int


class Door:
    """Lets clients in. All of it runs in one event loop, of a thread of ours."""

    def __init__(
        self,
        loop: Any,
        note: Callable[[str], None],
        is_harassed: Callable[[int], bool],
        is_behind: Callable[[int], bool],
        release: Callable[[], None],
        at_once: AtOnce,
    ) -> None:
        """
        Args:
            loop: the asyncio event loop.
            note: told when people have to wait.
            is_harassed: whether somebody comes again and again to be hung up on, to one of our own
                descriptors.
            is_behind: likewise, whether one who was hung up on is still being heard.
            release: ends that numbers are held: until the door is shut libzmq accepts as it likes.
            at_once: what numbers are held by.
        """
        self._loop = loop
        self._note = note
        self._is_harassed, self._is_behind = is_harassed, is_behind
        self._at_once = at_once
        self._is_full = False
        self._is_shut = False
        self._release: Callable[[], None] | None = release
        self._held: Any = None  # the timer that calls it
        self._late = 0
        self._crowded: set[int] = set()  # our own descriptors of those where a crowd waits
        self._places: dict[int, _Place] = {}  # by our own descriptors

    def shut(self, sockets: dict[int, int], tries: int = _TRIES) -> None:
        """Mute libzmq's listening sockets, and let in who knocks from now on.

        Args:
            sockets: descriptors that libzmq listens on, by our own of the same sockets.
        """
        places = _places(set(sockets.values()))
        for own, fd in list(sockets.items()):
            if (place := places.get(fd)) is not None and self._arm(place, _MUTED):
                self._places[own] = place
                self._attend(own, place)
                del sockets[own]
        if sockets and tries:  # libzmq's thread has not come to it yet
            self._loop.call_later(_SOON, self.shut, sockets, tries - 1)
        else:
            self._is_shut = True
        self._hold_numbers()

    def _hold_numbers(self) -> None:
        """Let libzmq's new connections have no number that the program has used."""
        before = self._release
        self._release = descriptors.hold_numbers()
        if before is not None:  # anew, since another thread may have had a file there for a moment
            before()
        if self._held is not None:
            self._held.cancel()
        self._held = self._loop.call_later(_ACCEPTED, self._let_go)

    def _let_go(self, is_last: bool = False) -> None:
        """Let the numbers go; later, if libzmq, on a busy machine, still is to accept somebody.

        One that was armed twice for somebody would accept the next one on its own.
        """
        for place in self._places.values():
            self._arm(place, _MUTED)
        if not self._is_shut:
            self._hold_numbers()
        elif not is_last and self._is_knocked() and not self._is_full:
            self._held = self._loop.call_later(_ACCEPTED, self._let_go, True)
        else:
            self._end_holding()

    def _end_holding(self) -> None:
        if self._release is not None:
            self._held.cancel()
            self._release()
            self._held = self._release = None

    def _let_in(self, own: int, place: _Place, most: int) -> float | None:
        """Have libzmq accept a connection, and up to ``most`` if they wait.

        Returns:
            Seconds until the next one's turn; ``None`` if the socket is not there any more.
        """
        if not self._is_there(place):
            return None
        epoll_ctl = self._at_once.libc.epoll_ctl
        arm, mute = (
            partial(epoll_ctl, place.epoll, _MOD, place.fd, struct.pack(_EVENT, what, place.mark))
            for what in (_ONE, _MUTED)
        )
        began = self._loop.time()
        beyond = _FEW if own in self._crowded or self._is_harassed(own) else _BEYOND
        if own in self._crowded:
            most = self._clear(own, place, most)
            if not most:
                return self._rest(began)
        left = iter(range(most - 1))

        def goes_on() -> bool:
            is_next = not self._is_behind(own) and self._at_once.is_readable(place.fd)
            return is_next and next(left, None) is not None

        release = descriptors.hold_streams()
        try:
            highest = descriptors.highest_to_hold(beyond)
            is_in = self._at_once.meanwhile(arm, mute, goes_on, place.epoll, highest, _LOOKS, _LOOK)
        except OSError:  # a sandbox that forbids it
            is_in = 0
        finally:
            release()
        self._late = 0 if is_in else self._late + 1
        if self._late > _LATE:
            self._hold_numbers()  # until it surely has, and the program uses others
            arm()
        elif not is_in:
            return _SOON
        if self._is_harassed(own):
            return _SLOWLY
        if is_in == _CROWD:
            self._crowded.add(own)
        return self._rest(began) if own in self._crowded else _NEXT

    def _rest(self, began: float) -> float:
        return _REST * float(self._loop.time() - began)

    def _clear(self, own: int, place: _Place, most: int) -> int:
        """Turn away who has hung up, of a crowd; return how many of the next are to be let in."""
        self._crowded.remove(own)
        release = descriptors.hold_numbers()
        try:
            waiting = self._at_once.backlog(place.inode)
            gone = len(list(takewhile(not_, waiting[:_GONE])))
            self._at_once.turn_away(place.fd, gone)
        except OSError:  # TCP, say, of which the system does not tell
            return most
        finally:
            release()
        if len(waiting) > _CROWD:
            self._crowded.add(own)
        return min(most, len(list(takewhile(bool, waiting[gone:]))))

    def _is_knocked(self) -> bool:
        knocks = select.poll()
        for place in self._places.values():
            knocks.register(place.fd, select.POLLIN)
        return any(event & select.POLLIN for _, event in knocks.poll(0))

    def _attend(self, own: int, place: _Place) -> None:
        # not our own, which the program may close without libzmq's being gone
        self._loop.add_reader(place.fd, partial(self._knocked, own, place))

    def _knocked(self, own: int, place: _Place) -> None:
        self._loop.remove_reader(place.fd)
        most = min(descriptors.allowed_clients(), 1 if self._is_harassed(own) else _CROWD)
        is_full = not most
        if is_full and not self._is_full:
            self._note("a client waits: the program has hardly any descriptors left")
        self._is_full = is_full
        pause: float | None = _LATER
        if not is_full:
            pause = _SOON if self._is_behind(own) else self._let_in(own, place, most)
        if pause is None:
            self._places.pop(own, None)  # the program has closed it
        else:
            self._loop.call_later(pause, self._attend, own, place)

    def _arm(self, place: _Place, events: int) -> bool:
        """Set what libzmq is told of; false if its socket is not there any more."""
        if not self._is_there(place):
            return False
        event = struct.pack(_EVENT, events, place.mark)
        return bool(self._at_once.libc.epoll_ctl(place.epoll, _MOD, place.fd, event) == 0)

    def _is_there(self, place: _Place) -> bool:
        try:
            return self._at_once.identity(place.fd)[1] == place.inode
        except OSError:
            return False


def _places(wanted: set[int]) -> dict[int, _Place]:
    """Return where the sockets ``wanted`` are waited for, by descriptor (proc(5), fdinfo)."""
    found = {}
    for name in system.listdir("/proc/self/fd"):
        try:
            if system.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]":
                continue
            told = descriptors.contents(f"/proc/self/fdinfo/{name}")
            lines = re.findall(rb"^tfd: *(\d+) .*data: *([0-9a-f]+)", told, re.MULTILINE)
            for fd, mark in lines:
                if int(fd) in wanted:
                    inode = system.fstat(int(fd)).st_ino
                    found[int(fd)] = _Place(int(name), int(fd), inode, int(mark, 16))
        except OSError:  # closed meanwhile
            continue
    return found


def install(
    loop: Any,
    sockets: dict[int, int],
    note: Callable[[str], None],
    is_harassed: Callable[[int], bool],
    is_behind: Callable[[int], bool],
    at_once: AtOnce | None,
) -> None:
    """Let clients in by a door from now on, where that can be done. From any thread.

    Args:
        loop, note, is_harassed, is_behind, at_once: as for :class:`Door`; without the last it
            cannot be done.
        sockets: see :meth:`Door.shut`.
    """
    if at_once is None:
        return
    release = descriptors.hold_numbers()
    door = Door(loop, note, is_harassed, is_behind, release, at_once)

    def begin() -> None:
        try:
            door.shut(dict(sockets))
        except Exception as error:  # protects the kernel: /proc may be another's by now
            release()
            note(f"no door: {error}")

    loop.call_soon_threadsafe(begin)
