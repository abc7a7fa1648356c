"""The later life of a listener: an unusual start, the boot, the end; and forks, by :mod:`.forks`.

What is called from the parked thread never raises into the program and never prints. Standard
library only. Imported when it is first needed: a program that is never looked at and never
forks does without.
"""

import _signal
import _socket
import os
import sys
from time import monotonic

from . import (  # now: else each forked child would import it
    count_filters,
    listener,
    load_lifecycle,
    renewal,
)
from .listener import BOOTING, CLOSED, PARKED, Listener, note, system
from .renewal import is_ours

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Seconds that who stops the parked thread waits until it is gone.
_LONGEST_STOP = 0.5

# Closed amid its boot, which goes on until it comes to that: forks still wait for its imports, and
# the program's end stops it.
leaving: Listener | None = None

# for the listener
asked_first, rung, is_over = renewal.asked_first, renewal.rung, renewal.is_over
far_up = renewal.far_up


def _unusual(name: str) -> "Callable[..., Any]":
    def function(*arguments: "Any", **options: "Any") -> "Any":
        from . import unusual

        return getattr(unusual, name)(*arguments, **options)

    return function


open_unusually = _unusual("open_it")
tcp_socket, bind_anyway = _unusual("tcp_socket"), _unusual("bind_anyway")
rename_anyway, link_anyway = _unusual("rename_anyway"), _unusual("link_anyway")
park_without_signals = _unusual("park_without_signals")
close_for_good, end_boot = _unusual("close_for_good"), _unusual("end_boot")
leave_alone = _unusual("leave_alone")


def sweep(_: None, files: str, sockets: str = "") -> None:
    """See :func:`rtconsole.leftovers.sweep`."""
    try:
        from . import leftovers

        leftovers.sweep(files, sockets)
    except Exception as error:  # protects the program's fork, or end: after chroot(), say
        note("what dead processes left stays", error)


def deferred(_: None, pending: "set[int]") -> "Any":
    """See :func:`rtconsole.signals.deferred`."""
    from . import signals

    return signals.deferred(pending)


def at_fork(_: None, phase: str, mask: "set[int] | None") -> None:
    """See :func:`rtconsole.forks.at_fork`."""
    from . import forks

    forks.at_fork(phase, mask)


def stop() -> None:
    """Close this process's listener, if it has one; what a handler raises meanwhile comes after."""
    from .forks import of_this_process

    mask = listener.tried(lambda: listener.block_signals(False), None, AttributeError)  # Windows
    try:
        closing, listener.current = of_this_process(listener.current), None
        if closing is not None:
            close(closing)
        if "RTCONSOLE_HISTORY" in os.environ:
            from . import recorder

            recorder.stop()
    finally:
        if mask is not None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


# -- the end ---------------------------------------------------------------------------


def close(self: Listener) -> None:
    """Take everything back: thread or kernel, sockets, files."""
    global leaving
    # it may be about to park again
    is_held = self.state == "refusing" and self.gate.acquire(timeout=_LONGEST_STOP)
    if self.state == PARKED:
        unpark(self)
    if self.state == BOOTING:
        leaving = self
    if self.state == "refusing":
        self.state = CLOSED
        if self.pipe is not None and renewal.is_intact(self):
            system.write(self.pipe[1], b"x")
    self.state = CLOSED
    if is_held:
        self.gate.release()
    self.forget_file()
    kernel, self.kernel = self.kernel, None
    if kernel is not None:
        kernel.close()
    close_descriptors(self)


def undo(self: Listener) -> None:
    """Take everything back that has begun, wherever an error, or a signal's handler, ended that."""
    if listener.current is self:
        listener.current = None
    for fd in {*self.sockets.values()} - {*self.identity}:
        system.close(fd)
    close(self)
    try:
        from . import folders, leftovers

        usual, _ = self.folders or (folders.runtime_dir(os.environ, sys.platform), "")
        leftovers.forget(usual)
    except OSError as error:  # no folder, and so nothing in it
        note("nothing to take back", error)


def close_descriptors(self: Listener) -> None:
    """Close those of the listener that are still its own."""
    for fd in list(self.identity):
        if is_ours(self, fd):
            _socket.close(fd)  # as os.close, and on Windows it knows sockets, which that does not
    self.identity.clear()
    self.sockets.clear()
    self.pipe = None


def unpark(self: Listener) -> bool:
    """Stop the parked thread; tell whether it is gone (it may just have been rung).

    Returns when the OS thread is no more, not only the Python one: ``os.fork`` counts OS
    threads and warns (Python 3.12 and later).
    """
    if self.pipe is None:
        return False
    intact = renewal.is_intact(self)
    if intact and not self.stops_late:
        system.write(self.pipe[1], b"x")
    if self.nudge.locked():  # the program closed some of ours, for all we know: see revive
        self.nudge.release()
    patience = 0.0 if self.stops_late else _LONGEST_STOP  # then a fork has waited already
    deadline = monotonic() + patience
    # once more: a signal's handler may have taken the time
    if not (self.gone.acquire(timeout=patience) or self.gone.acquire(blocking=False)):
        self.stops_late = True
        return False
    self.stops_late = False
    if self.state != PARKED:
        return False
    if intact:
        system.read(self.pipe[0], 1)
    task = f"/proc/self/task/{self.thread_id}"
    while listener.tried(lambda: system.stat(task), None) and monotonic() < deadline:
        system.sched_yield()
    return True


# -- the boot --------------------------------------------------------------------------


def is_confined(self: Listener) -> bool:
    """Tell whether this thread may do less than when the console opened (seccomp(2)).

    Who does what is forbidden may be killed, and the process with it.
    """
    return count_filters() > self.filters


def boot(self: Listener) -> None:
    """Hand over to the kernel. In the parked thread.

    Raises:
        PermissionError: a kernel's calls may be forbidden, and to tell that to a client, too.
        ImportError: see :func:`rtconsole.load_lifecycle`.
    """
    if is_confined(self):
        raise PermissionError("the program has forbidden itself system calls (seccomp)")
    load_lifecycle()
    try:
        with self.gate:
            listener.tried(lambda: __import__("rtconsole.waking"), None, RuntimeError)
            from . import waking
    except Exception as error:  # protects the program: after chroot() there is no such file
        give_up(self, error)
    else:
        waking.boot(self)


def give_up(self: Listener, error: BaseException) -> None:
    """Close a console that cannot even say why there is none: else clients wait for ever."""
    note("nor could the client be told", error)
    try:
        if self.state in (BOOTING, "refusing"):
            close(self)
    except Exception as worse:  # protects the program, likewise
        note("nor the console closed", worse)
