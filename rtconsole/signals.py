"""The program's signal handlers, which must not be called amid our work in a thread of its own.

Python calls them between two bytecodes of whatever the main thread runs: in an at-fork handler of
ours, too. What one raises there is lost (the interpreter prints it): a Ctrl-C, a timeout; and our
work would be half done. So those signals are blocked from the first phase of a fork to the last:
while the process forks, which takes longest, they would come to be called in the last one. What
came meanwhile is tripped when the fork is over, and the handler called in the program.

What has no handler in Python acts at once, as ever. Standard library only. Imported when a program
first forks.
"""

import _signal
import _thread
import os
from _functools import partial  # type: ignore[import-not-found]

from .listener import at_exit as at_exit

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# Of each thread, by its ident, for each fork that it is in: the phases that have begun, and what is
# blocked since.
_blocked: "dict[int, list[tuple[str, set[int]]]]" = {}

# What came meanwhile.
_deferred: "list[int]" = []


def begin(thread: int, phase: str, mask: "set[int] | None") -> None:
    """Keep blocked in this thread what has a handler in Python, until :func:`end`.

    Args:
        thread: its ident.
        phase: ``"before"``; or ``"first"``, which comes before that if it comes at all.
        mask: what the program blocks. All signals are blocked now; none, if this is ``None``.
    """
    blocked = _narrow(mask)
    _blocked.setdefault(thread, []).append((phase, blocked))


def end(thread: int, in_child: bool) -> "set[int]":
    """Return what has been blocked since the fork began, and is to be unblocked now.

    Args:
        in_child: what came before the process forked is its parent's.
    """
    if in_child:
        _deferred.clear()
    phases = _blocked.get(thread, [])
    blocked: set[int] = set()
    if phases:
        blocked |= phases.pop()[1]
    if phases and phases[-1][0] == "first":
        blocked |= phases.pop()[1]
    return blocked


def _narrow(mask: "set[int] | None") -> "set[int]":
    """Block what has a handler in Python instead of all signals; return what is blocked by that.

    Args:
        mask: what the program blocks. All signals are blocked now; none, if this is ``None``.
    """
    if mask is None:
        return set()
    handled = {n for n in _signal.valid_signals() if callable(_signal.getsignal(n))}
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask | handled)
    return handled - mask


def release(blocked: "set[int]") -> None:
    """Unblock signals; defer those that came meanwhile."""
    _deferred.extend(taken(_signal.sigpending() & blocked))
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, blocked)


def taken(pending: "set[int]") -> "list[int]":
    """Take signals that are blocked and pending; return them, each as often as it came."""
    take: Any = getattr(_signal, "sigtimedwait", None)  # not on macOS
    found = []
    for number in pending if take else ():
        while take([number], 0):
            found.append(number)
    return found


def deferred(pending: "set[int]") -> "Iterator[object]":
    """Take signals that are blocked and pending; return an iterator, in C, that trips them."""
    trip: Any = _thread.interrupt_main  # PyErr_SetInterruptEx
    return map(trip, taken(pending))


def register_trip() -> None:
    """Trip deferred signals in an at-fork handler from now on: in C, and the last so far."""
    global _deferred
    numbers: list[int] = []
    trip = in_c(_thread.interrupt_main, numbers)  # PyErr_SetInterruptEx
    for hook in (trip, numbers.clear):
        os.register_at_fork(after_in_parent=hook, after_in_child=hook)
    numbers += _deferred
    _deferred.clear()  # so the one before does nothing any more
    _deferred = numbers


def register_calls() -> "list[Any]":
    """Return a list of calls that an at-fork handler makes, in the parent, from now on.

    In C, and the last so far. It goes on while they return what is true, and empties the list.
    """
    import _operator

    calls: list[Any] = []
    for hook in (in_c(_operator.call, calls, until=all), calls.clear):
        os.register_at_fork(after_in_parent=hook)
    return calls


def in_c(
    function: "Callable[..., object]",
    *arguments: "list[Any]",
    until: "Callable[[Any], bool]" = any,
) -> "Callable[[], object]":
    """Return what calls ``function`` for each of ``arguments``, as ``map`` does, with no bytecode.

    Between two of those handlers and pending calls are made.

    Args:
        until: ``any`` goes on while what is returned is false, ``all`` while it is true.
    """
    each = type("Each", (), {"__iter__": staticmethod(partial(map, function, *arguments))})
    made: Callable[[], object] = partial(until, each())
    return made
