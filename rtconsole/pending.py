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

# As `ctypes` would make them; to import that takes milliseconds.
_FLAGS = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Mask(_ctypes.Array):  # type: ignore[type-arg]
    """A ``sigset_t``, or more than one."""

    _type_, _length_ = _Byte, 128


class _Call(_ctypes.CFuncPtr):
    """A pending call; what it is given is always NULL."""

    _flags_ = _FLAGS
    _restype_ = _Int
    _argtypes_ = ()


class _Step(_ctypes.CFuncPtr):
    """A call of which the result does not count."""

    _flags_ = _FLAGS
    _restype_ = None
    _argtypes_ = ()


class _Add(_ctypes.CFuncPtr):
    _flags_ = _FLAGS
    _restype_ = _Int
    _argtypes_ = (_Call, _Pointer)


class _SetMask(_ctypes.CFuncPtr):
    _flags_ = _FLAGS
    _restype_ = _Int
    _argtypes_ = (_Int, _Pointer, _Pointer)


def _address(name: str) -> int:
    """Return the address of a function of the interpreter's, or what it is linked with."""
    return int(_ctypes.dlsym(_ctypes.dlopen(_PROGRAM, 0), name))


_PROGRAM: "Any" = None  # where to look for a function: in what is loaded
_ADD: "Any" = _Add(_address("Py_AddPendingCall"))
_SET_MASK: "Any" = _SetMask(_address("pthread_sigmask"))
_HANDLE: "Any" = _Call(_address("PyErr_CheckSignals"))
_signals = _Mask()  # that are to be unblocked

_function: "Callable[[], object] | None" = None


def is_forked_by_c() -> bool:
    """Tell whether C alone forks, and tells Python: it warns of no thread.

    Nor may it ever call Python again in this thread, as uWSGI's master.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals is vars(listener)  # our at-fork handler, called by nobody


def calls(function: "Callable[[], object]", blocked: "set[int]") -> "list[Any]":
    """Return what has a function called, and signals unblocked, once the fork has returned.

    For :func:`rtconsole.signals.register_calls`.
    """
    global _function
    _function = function
    for number in blocked:
        _signals[(number - 1) // 8] |= 1 << (number - 1) % 8
    # there is room for 32 calls; else the result is not 0, and they are unblocked at once
    return [partial(_ADD, _WORK, None), _UNBLOCK]


def _work() -> int:
    try:
        if _function is not None:
            _function()
    except BaseException as error:  # protects the program, which could be anywhere
        listener.note("after a fork", error)
    return 0


_CALLBACK = _Call(_work)  # out of which nothing is raised, whatever happens: so the next step comes
_UNBLOCK = partial(_SET_MASK, _signal.SIG_UNBLOCK, _ctypes.addressof(_signals), None)
_STEPS: "list[Any]" = [
    _Step(_Pointer.from_address(_ctypes.addressof(_CALLBACK)).value),
    _UNBLOCK,
    partial(_operator.setitem, _signals, slice(None), [0] * 128),  # the program may block them now
    partial(_ADD, _HANDLE, None),
]
_WORK = _Call(signals.in_c(_operator.call, _STEPS))
