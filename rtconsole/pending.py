"""Python 3.13: a call once ``os.fork`` has returned.

There it looks for other threads after the at-fork handlers, not before, and warns of the one
that they started. A pending call (https://docs.python.org/3/c-api/init.html#c.Py_AddPendingCall)
is made between two bytecodes. So it is asked for in an at-fork handler that has none itself, after
all others: and it is made when ``os.fork`` returns, before the program calls something that waits.
Asked for by a pending call it would be too late: Python forgets to look for those.

What raises in a pending call in Python is a SystemError in the program, or nothing; and handlers
of the program's signals might. So there are five, of which four are in C to their end: signals are
blocked, and those that came before handled, which may raise; the call; and the like again.
"""

import _ctypes
import _operator
import _signal
import os
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
_ALL, _before = _Mask(*[255] * 128), _Mask()

_function: "Callable[[], object] | None" = None
_asked: "list[list[Any]]" = []  # for what the handler adds that was registered last


def is_forked_by_c() -> bool:
    """Tell whether C alone forks, and tells Python: it warns of no thread.

    Nor may it ever call Python again in this thread, as uWSGI's master.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals is vars(listener)  # our at-fork handler, called by nobody


def register(function: "Callable[[], object]") -> None:
    """Have ``function`` called after each fork from now on: the last handler so far asks for it."""
    global _function
    for asked in _asked:
        asked.clear()  # so the one before does nothing any more
    _function, _asked[:] = function, [[*_CALLS], [None] * len(_CALLS)]
    os.register_at_fork(after_in_parent=signals.in_c(_ADD, *_asked))


def _work() -> None:
    try:
        if _function is not None:
            _function()
    except BaseException as error:  # protects the program, which could be anywhere
        listener.note("after a fork", error)


def _call(function: "Callable[[], object]") -> "Any":
    """Return a pending call of ``function``, without a bytecode of its own."""
    return _Call(signals.in_c(_operator.call, [function]))


def _set_mask(how: int, new: _Mask, old: "_Mask | None") -> "Callable[[], object]":
    pointers = [None if mask is None else _ctypes.addressof(mask) for mask in (new, old)]
    return partial(_SET_MASK, how, *pointers)  # type: ignore[no-any-return]


_CALLS = (
    _call(_set_mask(_signal.SIG_SETMASK, _ALL, _before)),
    _HANDLE,
    _call(_work),
    _call(_set_mask(_signal.SIG_SETMASK, _before, None)),
    _HANDLE,
)
