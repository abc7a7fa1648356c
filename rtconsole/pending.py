"""Python 3.13: a call once ``os.fork`` has returned.

There it looks for other threads after the at-fork handlers, not before, and warns of the one
that they started. A pending call (https://docs.python.org/3/c-api/init.html#c.Py_AddPendingCall)
is made between two bytecodes. So it is asked for in an at-fork handler that has none itself, after
all others: and it is made when ``os.fork`` returns, before the program calls something that waits.
Asked for by a pending call it would be too late: Python forgets to look for those.

What raises in a pending call in Python is lost, or a SystemError in the program; and a handler of
the program's signals might, between two bytecodes. So they stay blocked for it, as they were in the
fork, until it is over: then they are unblocked in C, and handled by a call that is in C itself.
"""

import _ctypes
import _operator
import _signal
import sys
from _functools import partial  # type: ignore[import-not-found]

from . import listener, signals

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """An unsigned long, which on all systems with ``os.fork`` has room for an address."""

    _type_ = "L"


class _Mask(_ctypes.Array):  # type: ignore[type-arg]
    """A ``sigset_t``, or more than one: a bit of an unsigned long for each signal."""

    _type_, _length_ = _Long, 16


class _Function(_ctypes.CFuncPtr):
    """A function in C that returns an ``int``.

    As `ctypes` would make it; to import that takes milliseconds, and each class of these some
    more. What it is given beyond the arguments named here is passed on as it is.
    """

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = _Int
    _argtypes_ = ()


def _find(name: str) -> "Any":
    """Return a function of the interpreter's, or of what it is linked with."""
    return _Function(int(_ctypes.dlsym(_LOADED, name)))


_PROGRAM: "Any" = None
_LOADED: "Any" = _ctypes.dlopen(_PROGRAM, 0)
_ADD, _SET_MASK = _find("Py_AddPendingCall"), _find("pthread_sigmask")
_HANDLE, _ASK = _find("PyErr_CheckSignals"), _find("PyObject_IsTrue")
_BITS = 8 * _ctypes.sizeof(_Long)
_signals = _Mask()  # that are to be unblocked


def is_forked_by_c() -> bool:
    """Tell whether C alone forks, and tells Python: it warns of no thread.

    Nor may it ever call Python again in this thread, as uWSGI's master.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals is vars(listener)  # our at-fork handler, called by nobody


class _Ending:
    """What has a function called as it ends: out of that nothing is raised, whatever happens.

    https://docs.python.org/3/reference/datamodel.html#object.__del__
    """

    def __init__(self, function: "Callable[[], object]") -> None:
        self._function = function

    def __del__(self) -> None:
        try:
            self._function()
        except BaseException as error:  # protects the program, which could be anywhere
            listener.note("after a fork", error)


def calls(function: "Callable[[], object]", blocked: "set[int]") -> "list[Any]":
    """Return what has a function called, and signals unblocked, once the fork has returned.

    For :func:`rtconsole.signals.register_calls`.
    """
    _endings.append(_Ending(function))
    for number in blocked:
        _signals[(number - 1) // _BITS] |= 1 << (number - 1) % _BITS
    # there is room for 32 calls; else the result is not 0, and they are unblocked at once
    return [partial(_ADD, _ASK, _Long(id(_work))), _UNBLOCK]


_endings: "list[_Ending]" = []
_UNBLOCK = partial(_SET_MASK, _signal.SIG_UNBLOCK, _signals, None)
_STEPS: "list[Any]" = [
    _endings.clear,
    _UNBLOCK,
    partial(_operator.setitem, _signals, slice(None), [0] * 16),  # the program may block them now
    partial(_ADD, _HANDLE, None),
]
# A pending call asks whether it is true. A callback of ctypes would be a function as well, for
# which libffi reads files, and maps memory that is both written and executed.
_work = type("Work", (), {"__bool__": staticmethod(signals.in_c(_operator.call, _STEPS))})()
