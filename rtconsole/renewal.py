"""What the parked thread has to do when nobody rang: stop, or boot at once, or make anew
descriptors of ours that the program has closed, as daemons do.

Standard library only.
"""

from time import monotonic

from . import listener
from .listener import BOOTING, PARKED, PLATFORM, Listener, system

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

DAEMON_PATIENCE = 1.0  # seconds that a program which closes all descriptors is left alone

_NOBODY = -1  # a descriptor that is nobody's: what there is to see to is not told by poll


def is_ours(self: Listener, fd: int, platform: str = PLATFORM) -> bool:
    """Tell whether ``fd`` still is what we opened: a daemon may have closed it."""
    if platform == "win32":  # of sockets, which are handles there, os.fstat knows nothing
        return fd in self.identity
    return self.has(fd)


def is_eager(self: Listener) -> bool:
    """Tell whether the kernel is to boot without waiting for a client."""
    from . import settings

    return settings.from_environment().eager


def asked_first(self: Listener, rings: "Any") -> "Any":
    """Return what the parked thread goes through if it may have to boot at once, or to renew."""
    from itertools import chain

    return chain(((), ((_NOBODY, 0),)) if self.lost else ((),), rings)


def rung(self: Listener, ready: "Any") -> None:
    """Note whether a boot begins: somebody connected, or the kernel is to boot at once.

    What has the number of one that the program has closed is the program's, and rings for it.

    Args:
        ready: what :func:`select.poll` has found; nothing if that is not asked yet.
    """
    pipe = self.pipe  # None if the console was closed meanwhile
    found = [fd for fd, _ in ready]
    is_called = pipe is not None and pipe[0] not in found
    rings = any(is_ours(self, fd) for fd in found) if found else is_eager(self)
    if is_called and rings and self.state == PARKED:
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
            over = bool(ready) and not revive(self, ready)
    finally:
        if over:
            self.gone.release()
    return over


def revive(self: Listener, ready: "Any") -> bool:
    """The parked thread is to stop, or the program has closed descriptors: go on only then.

    A daemon closes all descriptors, and may rely on the numbers that it gets next: so a
    second is waited before new ones are made, at the same addresses and far up. If it forks
    meanwhile, this thread is stopped, and the one after the fork waits for the rest.

    Args:
        ready: see :func:`rung`.
    """
    if self.pipe is None:
        return False
    if is_intact(self) and self.pipe[0] in [fd for fd, _ in ready]:
        return goes_on(self)
    self.renews_at = self.renews_at or monotonic() + DAEMON_PATIENCE
    is_told = self.nudge.acquire(timeout=max(0.0, self.renews_at - monotonic()))
    if (is_told and not goes_on(self)) or self.state != PARKED:
        return False
    for fd in list(self.identity):
        listener.tried(lambda fd=fd: self.poll.unregister(fd), None, KeyError)
    with self.gate:  # it imports, too
        renew(self)
    for fd in (*self.sockets.values(), self.pipe[0]):
        self.poll.register(fd, vars(listener)["POLLIN"])
    return True


def is_intact(self: Listener) -> bool:
    """Tell whether the program has left both ends of the parked thread's pipe."""
    return self.pipe is not None and all(is_ours(self, fd) for fd in self.pipe)


def goes_on(self: Listener) -> bool:
    """Forget that the parked thread was to stop, if the fork for which it was is over by now.

    Returns:
        Whether it is.
    """
    if not self.stops_late:
        return False
    self.stops_late = False
    self.nudge.acquire(blocking=False)
    if is_intact(self):
        system.read(self.pipe[0], 1)
    return True


def renew(self: Listener) -> None:
    """Make sockets anew, at the same addresses, that the program has closed; and the pipe."""
    self.lost, self.renews_at = False, 0.0
    for channel, fd in list(self.sockets.items()):
        if not is_ours(self, fd):
            self.identity.pop(fd, None)
            self.listen(channel)
            (self.sockets[channel],) = far_up(self, (self.sockets[channel],))
    if self.pipe is not None and not is_intact(self):
        for fd in self.pipe:
            if is_ours(self, fd):
                system.close(fd)
            self.identity.pop(fd, None)
        self.pipe = far_up(self, system.pipe())


def far_up(self: Listener, fds: "Any", platform: str = PLATFORM) -> "Any":
    """Move descriptors out of the range in which programs count on theirs."""
    if platform == "win32":
        self.identity.update(dict.fromkeys(fds, (0, 0)))
        return tuple(fds)
    import fcntl

    ask: Any = fcntl.fcntl
    if type(ask) is not type(len):  # the program's: it may tell the number of a stream
        from . import native

        ask = native.fcntl().fcntl

    moved = []
    for fd in fds:
        self.identity.pop(fd, None)
        moved.append(self.own(ask(fd, fcntl.F_DUPFD_CLOEXEC, 200)))
        system.close(fd)
    return tuple(moved)
