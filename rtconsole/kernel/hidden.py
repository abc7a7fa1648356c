"""The console's threads, which the program does not find among its own.

Many programs end when no other threads are left: they join all that ``threading.enumerate()``
knows, or wait until ``threading.active_count()`` is 1, and would wait for ours for ever. So the
dict of these, ``threading._active``, has ours beside it: ``threading.current_thread()`` looks them
up there, as it has to find one in each thread, and nothing that counts or lists does.
"""

import sys
from collections.abc import Callable
from contextvars import Context
from functools import partial
from operator import call
from types import SimpleNamespace
from typing import Any

MARK = "_is_of_rtconsole"


class Active(dict[int, Any]):
    """``threading._active``: the program's threads by identifier.

    Attributes:
        ours: those of the console.
    """

    def __init__(self, module: Any, ours: dict[int, Any]) -> None:
        super().__init__()
        self.ours = ours
        self._kind = module.Thread
        threads: dict[int, Any] = module._active
        for ident, thread in threads.items():
            self[ident] = thread

    def __missing__(self, ident: int) -> Any:
        thread = self.ours[ident]
        # A child's only thread has to be one that the module knows, or it makes one.
        is_forked = sys._getframe(1).f_code.co_name == "_after_fork"
        if is_forked and not isinstance(thread, self._kind):
            raise KeyError(ident)
        return thread

    def __setitem__(self, ident: int, thread: Any) -> None:
        """Enter a thread that has begun, in the place of one of a parent's if C has forked."""
        if hasattr(thread, MARK):
            self.pop(ident, None)
            self.ours[ident] = thread
        else:
            self.ours.pop(ident, None)
            super().__setitem__(ident, thread)

    def __delitem__(self, ident: int) -> None:
        """Strike one out that ends."""
        if self.ours.pop(ident, None) is None:
            super().__delitem__(ident)

    def clear(self) -> None:
        """Strike out all, in a forked child: then its only thread is entered, whosever it was."""
        super().clear()
        self.ours.clear()


def mark(thread: Any) -> Any:
    """Have a thread that is not started yet be one of the console's, and return it.

    Nor does the program trace or profile it (``threading.settrace``). What ends that is in C, or
    the program's function would be called for ours.
    """
    setattr(thread, MARK, True)
    hooks = {"_trace_hook": sys.settrace, "_profile_hook": sys.setprofile}
    found = [end for name, end in hooks.items() if getattr(_threading, name, None)]
    if not found:
        return thread
    ends = [partial(end, None) for end in found]
    if not hasattr(thread, "_context"):
        thread.run = _in_turn([*ends, thread.run], None)
        return thread
    # Since Python 3.14 the context's method, which is in C, calls it: a profile function would be
    # told of that.
    context = Context() if thread._context is None else thread._context
    enter = partial(context.run, thread.run)
    thread._context = SimpleNamespace(run=_in_turn([*ends, enter]))
    return thread


def _in_turn(steps: list[Callable[[], Any]], *left_over: Any) -> Callable[..., Any]:
    """Return what calls functions in turn, all from C, of which the last alone returns anything.

    It takes one argument, here or when it is called, and makes nothing of it.
    """
    return partial(next, filter(None, map(call, steps)), *left_over)


def adopt(thread: Any) -> None:
    """Mark a thread that has started already."""
    setattr(thread, MARK, True)
    module: Any = _threading
    with module._active_limbo_lock:
        active = module._active
        if type(active) is Active and active.pop(thread.ident, None) is thread:
            active[thread.ident] = thread


def hide(module: Any) -> None:
    """Have the program not find threads that are marked, from now on.

    That stays when a console is stopped: its last threads end a moment later.

    Args:
        module: the ``threading`` that the console's threads are of. If it is one of our own (see
            :mod:`rtconsole.native`), the program's finds them likewise.
    """
    global _threading
    _threading = module
    both = module, sys.modules["threading"]
    shared: dict[int, Any] = next((x.ours for one in both if type(x := one._active) is Active), {})
    for one in both:
        with one._active_limbo_lock:
            if type(one._active) is not Active:
                _put(one, Active(one, shared))


def _put(module: Any, active: Active) -> None:
    before, module._active = module._active, active
    # Since Python 3.13: strikes out what C's threads go by; later versions' has the dict as a
    # default value.
    strike_out: Any = getattr(getattr(module, "_DeleteDummyThreadOnDel", None), "__del__", None)
    if defaults := getattr(strike_out, "__defaults__", None):
        strike_out.__defaults__ = tuple(active if x is before else x for x in defaults)


def ours() -> list[Any]:
    """Return the console's threads that are hidden."""
    return list(getattr(getattr(_threading, "_active", None), "ours", {}).values())


_threading: Any = None
