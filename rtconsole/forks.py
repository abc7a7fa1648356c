"""Forks: a child has a console of its own, with none of its parent's sockets, and both start clean.

What is called for a fork never raises into the program and never prints. Standard library only.
Imported when a program first forks, or boots a kernel.
"""

import _signal
import os
import sys
from time import monotonic

from . import is_own_folder, lifecycle, listener, renewal, signals
from .listener import BOOTING, CLOSED, PARKED, RESTING, Listener, note, system

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Seconds that a fork may wait for one import, and for another fork.
_LONGEST_IMPORT = 5.0
# And between two looks whether another fork holds the boot already.
_GATE_LOOK = 0.01

# Modules of the standard library that hold a lock of theirs while the process forks.
_LOCKED_IN_FORKS = {"logging": "_lock", "concurrent.futures.thread": "_global_shutdown_lock"}

# Of those, which were not imported when a thread's fork began: no hook of theirs is called before
# it, also if they are by the time that the boot is held.
_missing: "dict[int, list[str]]" = {}

# How many modules there were when the first of our at-fork handlers was registered.
_first = 0

# Where `os.fork` looks for other threads after the at-fork handlers: see :mod:`.pending`.
_COUNTS_LATE = sys.version_info[:2] == (3, 13)
_pending: "Any" = None
_calls: "list[Any]" = []  # what it asks for in a fork
# Those of the standard library that register at-fork handlers; which of them were there, and how
# many modules, when the last of ours was registered.
_HOOKED = ("logging", "threading", "random", "asyncio.events", "concurrent.futures.thread")
_known: "list[bool]" = []
_modules = 0
_unborn: "list[int]" = []  # not empty in a child whose at-fork handlers have not all been called

# Whether Python knows of threads here, and of frames of theirs, that only a parent has.
has_dead_frames = False

# One fork at a time: a child that another thread forked beside it would know of no listener, and
# keep its parent's sockets. A signal handler may fork within a fork.
_own: "Any" = listener  # has imported what concerns threads before a program replaced it
_turn = _own.allocate_lock()
_forker, _depth = 0, 0  # the thread that has the turn, and how deep it is in forks
_inherited: Listener | None = None  # what its child gets
_is_swept = False  # in a child: its parent clears up for it
_has_forked = False  # before a first fork there are no children that were killed
# Threads in forks that wait for the gate of a boot, or rely on its being held: they get there in
# any order, and of each other's locks (logging's) they may wait for some.
_at_gate: "set[int]" = set()


def at_fork(phase: str, mask: "set[int] | None") -> None:
    """Do one of the phases of a fork.

    Args:
        phase: ``"first"``, if there is one, or one of those in ``_PHASES``.
        mask: what the program blocks, if all signals are blocked now.
    """
    me = _own.get_ident()
    if phase in ("first", "before"):
        signals.begin(me, phase, mask)
        _be_the_last()
    try:
        if phase == "first":
            _missing[me] = _not_imported()
            hold_imports(listener.current)
        else:
            _do(phase, me)
    finally:
        if "after" in phase:
            blocked = signals.end(me, in_child=phase == "after in child")
            if phase == "after in parent" and _parks_late(listener.current):
                _calls[:] = _pending.calls(_park_now, blocked)
            else:
                signals.release(blocked)


def _do(phase: str, me: int) -> None:
    """Do one of the three phases of a fork; no listener is to be seen meanwhile."""
    global _turn, _forker, _depth, _inherited, _is_swept, has_dead_frames
    take_locks = _let_go_of_locks() if phase == "before" and _forker != me else bool
    if phase == "before":
        if _forker == me:
            _depth += 1
        elif _turn.acquire(timeout=_LONGEST_IMPORT):
            _forker, _depth, _inherited = me, 1, listener.current
    found, listener.current = listener.current, None
    if phase == "after in child":
        has_dead_frames, found = False, found or _inherited
        _is_swept = _forker == me and found is not None
        _turn, _forker, _depth = _own.allocate_lock(), 0, 0
        _at_gate.clear()
        _unborn.append(me)
        lifecycle.leaving = None
    elif phase == "after in parent" and (_forker != me or _depth == 1):
        _at_gate.discard(me)
    try:
        listener.current = _PHASES[phase](found)
    finally:
        take_locks()
        if phase == "after in parent" and _forker == me:
            _depth -= 1
            if not _depth:
                _forker = 0
                _turn.release()


def before_fork(self: Listener | None) -> Listener | None:
    """Be no thread while the program forks, or at least not inside an import.

    A child born in the middle of an import would inherit a half-imported module and a
    lock whose owner is not there.
    """
    self = of_this_process(self)
    if self is not None and self.state == PARKED:
        if lifecycle.unpark(self):
            self.state = RESTING
        else:
            note("forking beside a thread that did not stop")
    hold_imports(self)
    return self


def of_this_process(self: Listener | None) -> Listener | None:
    """Return the listener; a child that C forked, unknown to at-fork handlers, gets its own.

    Until then it has its parent's, without the thread: as uWSGI's workers by default. Nor has
    anybody told Python, so it still knows of all threads of the parent, but for our parked one with
    frames that lead through stacks which are gone.
    """
    global has_dead_frames
    if self is None or self.info["rtconsole"]["pid"] == system.getpid():
        return self
    threads = getattr(sys.modules.get("threading"), "_active", ())
    has_dead_frames = self.state not in (PARKED, RESTING) or len(threads) > 1
    return after_fork_in_child(self)


def hold_imports(self: Listener | None) -> None:
    """Wait until a boot is between two imports and keep it there; once in each fork."""
    me, self = _own.get_ident(), _booting(self)
    if self is None or me in _at_gate:
        return
    _at_gate.add(me)
    deadline = monotonic() + _LONGEST_IMPORT
    while not self.gate_taken and monotonic() < deadline:
        if self.gate.acquire(timeout=_GATE_LOOK):
            self.gate_taken = True


def _let_go_of_locks() -> "Callable[[], object]":
    """Let go of ``logging``'s lock, which its hook has taken, while others may wait for it.

    Return a function that takes what is released after the fork: also where a boot is importing
    the module, and its hook for before the fork was not called.
    """
    missing = _missing.pop(_own.get_ident(), None) or _not_imported()
    logs: Any = getattr(sys.modules.get("logging"), "_lock", None)
    if let_go := getattr(logs, "_is_owned", bool)():
        logs.release()

    def take() -> None:
        if let_go:
            logs.acquire()
        for name in filter(_is_imported, _LOCKED_IN_FORKS):
            lock = getattr(sys.modules[name], _LOCKED_IN_FORKS[name])
            if hasattr(lock, "_is_owned"):
                lock._is_owned() or lock.acquire()
            elif name in missing:
                lock.acquire(blocking=False)

    return take


def _booting(self: Listener | None) -> Listener | None:
    """Return the listener that boots in this process, if one does: also one closed meanwhile."""
    if self is not None and self.state == BOOTING:
        return self
    left = lifecycle.leaving
    is_ours = left is not None and left.info["rtconsole"]["pid"] == system.getpid()
    return left if is_ours else None


def _not_imported() -> "list[str]":
    return [name for name in _LOCKED_IN_FORKS if not _is_imported(name)]


def _is_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def hold_imports_first() -> None:
    """Let forks wait for an import before they take locks that an import may need.

    ``logging`` and ``concurrent.futures`` take theirs in hooks of their own, and of such
    hooks the newest is called first: so ours is registered once more, after theirs, and again when
    more was imported: IPython has one, too, in which a handler of the program's might be called.
    """
    global _first
    if _first != (count := len(sys.modules)) and hasattr(os, "register_at_fork"):
        _first = count
        os.register_at_fork(before=lambda: listener.at_fork("first") if count == _first else None)


def after_fork_in_parent(self: Listener | None) -> Listener | None:
    """Wait for connections again."""
    global _has_forked
    if self is not None:
        if self.stops_late and self.gone.acquire(blocking=False):  # by now it has
            renewal.goes_on(self)
            if self.state == PARKED:
                self.state = RESTING
        if self.state == RESTING and not _parks_late(self):
            # such as a program that became a user who cannot read what that takes: with a thread
            # it would be warned of one, at this fork and each later one
            is_main = _own.get_ident() == self.main_thread_id
            park_or_close(self, can_park=not (_COUNTS_LATE and _pending is None and is_main))
    for held in (self, lifecycle.leaving):
        if held is not None and held.gate_taken and not _at_gate:
            held.gate_taken = False
            held.gate.release()
    if self is None or self.state == CLOSED:
        return None
    if _has_forked:  # of killed children: here it costs less than in this one, on its way by now
        lifecycle.sweep(None, os.path.dirname(self.connection_file))
    _has_forked = True
    return self


def wait_until_born() -> None:
    """Wait until a child's at-fork handlers are over: ``threading``'s forgets all threads."""
    from .native import sleep

    deadline = monotonic() + _LONGEST_IMPORT
    while _unborn and monotonic() < deadline:
        sleep(0.001)


def _parks_late(self: Listener | None) -> bool:
    """Tell whether to park once ``os.fork`` has returned: Python 3.13 counts threads then.

    It warns of those of the program's in any case, where one of them forks; and its main thread
    may wait in C for long before it makes a pending call.
    """
    return (
        _pending is not None
        and self is not None
        and self.state == RESTING
        and _own.get_ident() == self.main_thread_id
        and not _pending.is_forked_by_c()
    )


def _park_now() -> None:
    """Park, when ``os.fork`` has returned; a fork that goes on does so itself."""
    found = listener.current
    if found is not None and found.state == RESTING:
        park_or_close(found)


def _be_the_last() -> None:
    """Have the last word: what is to be done when no other at-fork handler comes any more.

    Registered anew once modules were imported that have registered theirs, or may have: a quarter
    more than there were, since each costs all forks that come.
    """
    global _known, _modules, _pending, _calls, _unborn
    known = [name in sys.modules for name in _HOOKED]
    if known == _known and len(sys.modules) <= _modules * 1.25:
        return
    if _COUNTS_LATE:
        try:  # now: after the fork each page that an import touches would be copied first
            from . import pending as _pending
        except (ImportError, AttributeError, OSError) as error:  # protects the program's fork
            note("no console after a fork", error)
        _calls = signals.register_calls()
    _unborn = []
    os.register_at_fork(after_in_child=_unborn.clear)
    signals.register_trip()
    _known, _modules = known, len(sys.modules)


def park_or_close(self: Listener, can_park: bool = True) -> None:
    """Park; where there is no thread to be had, leave nothing that promises a console."""
    try:
        if not can_park:
            raise RuntimeError("there must not be one")
        self.lost = not all(map(self.has, self.identity))
        self.park()
    except (OSError, RuntimeError) as error:
        note("no thread after a fork", error)
        if listener.current is self:
            listener.current = None
        lifecycle.close(self)


def after_fork_in_child(self: Listener | None) -> Listener | None:
    """Start clean: none of the parent's sockets; a file, key and thread of our own.

    Args:
        self: the parent's listener, as the child inherited it.

    Returns:
        The child's; none where it could be the child's end, or in its way.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    global _is_swept
    if "rtconsole.native" in sys.modules:  # before anything is imported
        sys.modules["rtconsole.native"].after_fork_in_child()
    if "rtconsole.turns" in sys.modules:
        sys.modules["rtconsole.turns"].give_back()
    if "rtconsole.descriptors" in sys.modules:
        sys.modules["rtconsole.descriptors"].after_fork_in_child()
    if self is None:
        fresh = Listener("multiprocessing") if listener.opens_in_children else None
    else:
        if self.state != RESTING:
            from . import inherited

            inherited.close_sockets(self.info)
        if self.kernel is not None:
            if self.kernel.runs_cells_here() and self.signal_mask is not None:
                # a cell forked: the child's only thread is ours, which blocks all signals
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self.signal_mask)
            inherited.forget_imports(self.kernel.abandon())
            listener.at_exit(self.kernel.let_go)
        self.state = CLOSED
        lifecycle.close_descriptors(self)
        if lifecycle.is_confined(self) or _is_to_exec():
            return None
        fresh = Listener(self.label)
        fresh.scope = self.scope
        if self.folders and _are_still_ours(*self.folders):
            # not by the environment, which the program may have changed: who looks for us
            # sees the one that it was started with
            fresh.folders = self.folders
    if fresh is not None:
        fresh.open()
        if self is not None and _own.get_ident() != self.main_thread_id:
            from . import inherited

            inherited.end_with_this_thread()
        if not _is_swept:  # its parent was a fork server, or forked in C alone
            lifecycle.sweep(None, os.path.dirname(fresh.connection_file))
    _is_swept = False
    return fresh


def _is_to_exec() -> bool:
    """Tell whether ``subprocess`` forks: its child calls a ``preexec_fn``, and execs.

    That may want to be alone: with a second thread there is no unshare(2) of users. And what it
    executes would keep our file, and be no Python perhaps.
    """
    frame: Any = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rtconsole."):
        frame = frame.f_back
    found = frame is not None and (frame.f_globals.get("__name__"), frame.f_code.co_name)
    return found == ("subprocess", "_execute_child")


def _are_still_ours(runtime: str, sockets: str) -> bool:
    """Tell whether a parent's folders will do: it may have become another user, or chrooted."""
    return is_own_folder(runtime, 0o022) and is_own_folder(sockets, 0o077)


_PHASES = {
    "before": before_fork,
    "after in parent": after_fork_in_parent,
    "after in child": after_fork_in_child,
}
