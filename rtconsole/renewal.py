"""What the parked thread has to do when nobody rang: stop, or boot at once, or make anew
descriptors of ours that the program has closed, as daemons do.

Standard library only.
"""

import sys

from . import listener
from .listener import BOOTING, PARKED, Listener, system

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

DAEMON_PATIENCE = 1.0  # seconds that a program which closes all descriptors is left alone


def is_ours(self: Listener, fd: int, platform: str = sys.platform) -> bool:
    """Tell whether ``fd`` still is what we opened: a daemon may have closed it."""
    if platform == "win32":  # of sockets, which are handles there, os.fstat knows nothing
        return fd in self.identity
    return self.has(fd)


def is_eager(self: Listener) -> bool:
    """Tell whether the kernel is to boot without waiting for a client."""
    from . import settings

    return settings.from_environment().eager


def asked_first(_: Listener, rings: "Any") -> "Any":
    """Return what the parked thread goes through if it may have to boot at once."""
    from itertools import chain

    return chain(((),), rings)


def rung(self: Listener, ready: "Any") -> None:
    """Note whether a boot begins: somebody connected, or the kernel is to boot at once.

    Args:
        ready: what :func:`select.poll` has found; nothing if that is not asked yet.
    """
    pipe = self.pipe  # None if the console was closed meanwhile
    is_called = pipe is not None and pipe[0] not in [fd for fd, _ in ready]
    if is_called and (ready or is_eager(self)) and self.state == PARKED:
        self.state = BOOTING


def is_over(self: Listener, ready: "Any") -> bool:
    """Tell whether the parked thread is over: a boot begins, or it is stopped.

    Args:
        ready: see :func:`rung`.

    Raises:
        OSError: what the program has closed cannot be made anew.
    """
    over = True
    try:
        if self.state == PARKED:
            over = bool(ready) and not revive(self)
    finally:
        if over:
            self.gone.release()
    return over


def revive(self: Listener) -> bool:
    """The parked thread's pipe was written to or is gone: go on waiting only if it is gone.

    A daemon closes all descriptors, and may rely on the numbers that it gets next: so a
    second is waited before new ones are made, at the same addresses and far up.
    """
    if self.pipe is None:
        return False
    if is_ours(self, self.pipe[0]):
        if not self.stops_late:
            return False
        self.stops_late = False  # the fork for which it was to stop is over
        system.read(self.pipe[0], 1)
        return True
    if self.nudge.acquire(timeout=DAEMON_PATIENCE) or self.state != PARKED:
        return False
    for fd in (*self.sockets.values(), self.pipe[0]):
        self.poll.unregister(fd)
    with self.gate:  # it imports, too
        renew(self)
        self.pipe = far_up(self, system.pipe())
    for fd in (*self.sockets.values(), self.pipe[0]):
        self.poll.register(fd, vars(listener)["POLLIN"])
    return True


def renew(self: Listener) -> None:
    """Make sockets anew, at the same addresses, that the program has closed."""
    for channel, fd in list(self.sockets.items()):
        if not is_ours(self, fd):
            self.identity.pop(fd, None)
            self.listen(channel)
            (self.sockets[channel],) = far_up(self, (self.sockets[channel],))


def far_up(self: Listener, fds: "Any", platform: str = sys.platform) -> "Any":
    """Move descriptors out of the range in which programs count on theirs."""
    if platform == "win32":
        self.identity.update(dict.fromkeys(fds, (0, 0)))
        return tuple(fds)
    import fcntl

    moved = []
    for fd in fds:
        self.identity.pop(fd, None)
        moved.append(self.own(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)))
        system.close(fd)
    return tuple(moved)
