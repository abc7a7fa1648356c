"""Python 3.13: a call once ``os.fork`` has returned.

There it looks for other threads after the at-fork handlers, not before, and warns of the one
that they started. A pending call (https://docs.python.org/3/c-api/init.html#c.Py_AddPendingCall)
is made between two bytecodes: those of the handler, or the first one after ``os.fork``.
"""

import _ctypes
import sys

from . import listener

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# As `ctypes` would make them; to import that takes milliseconds.
_FLAGS = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Callback(_ctypes.CFuncPtr):
    _flags_ = _FLAGS
    _restype_ = _Int
    _argtypes_ = (_Pointer,)


class _Add(_ctypes.CFuncPtr):
    _flags_ = _FLAGS
    _restype_ = _Int
    _argtypes_ = (_Callback, _Pointer)


_PROGRAM: "Any" = None  # where to look for the function: in what is loaded
_add: "Any" = _Add(_ctypes.dlsym(_ctypes.dlopen(_PROGRAM, 0), "Py_AddPendingCall"))
# Each has a pending call of its own: a signal's handler may fork amid one, and ask for another.
_due: "list[Callable[[], bool]]" = []


def is_forked_by_c() -> bool:
    """Tell whether C alone forks, and tells Python: it warns of no thread.

    Nor may it ever call Python again in this thread, as uWSGI's master.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals is vars(listener)  # our at-fork handler, called by nobody


def call(function: "Callable[[], bool]") -> None:
    """Have the main thread call ``function`` soon, and again until it returns true.

    Raises:
        OSError: too many calls are pending.
    """
    _due.append(function)
    if _add(_callback, None) != 0:
        _due.remove(function)
        raise OSError("too many pending calls")


def _call(_: object) -> int:
    """Never raises: the program could be anywhere."""
    try:
        function = _due.pop(0)
        if not function():
            call(function)
    except Exception as error:  # protects the program, in which this is called anywhere
        listener.note("after a fork", error)
    return 0


_callback: "Any" = _Callback(_call)
