"""Interrupts of a thread that may be entering a ``with``, from Python 3.14 on.

There the interpreter looks for them once ``__enter__`` has been called, one instruction before it
is sure to call ``__exit__``. A lock that a cell waits for, which may be the program's, would be
taken, and never be given back. So a cell looks for its interrupt by a tool of
:mod:`sys.monitoring`, before the next instruction of the function in which it is seen to be.
"""

import sys
from collections.abc import Callable
from opcode import opmap
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, TypeVar

# What calls ``__enter__``, and has found it, which is told by an argument. The latter since 3.14.
_CALL, _FIND, _ENTER = opmap["CALL"], opmap.get("LOAD_SPECIAL"), 0

# Code of the console's functions that begin and end a cell's, and of those in which that waits.
_BEGIN: list[CodeType] = []
_WAIT: list[CodeType] = []

# Of the tools' numbers those that have no purpose (https://docs.python.org/3/library/
# sys.monitoring.html#registering-and-using-tools), and that for which there is hardly one.
_NUMBERS = 4, 3, 5

_monitoring: Any = getattr(sys, "monitoring", None)

F = TypeVar("F", bound=Callable[..., Any])


def begins(function: F) -> F:
    """Decorate a function of the console's that begins and ends a cell's code."""
    _BEGIN.append(function.__code__)
    return function


def waits(function: F) -> F:
    """Decorate a function of the console's in which a cell's code waits."""
    _WAIT.append(function.__code__)
    return function


def runs_code(frame: FrameType | None) -> bool:
    """Tell whether a thread that is in a frame is in a cell's code, and not in its event loop."""
    while frame is not None and frame.f_code not in _BEGIN:
        frame = frame.f_back
    return frame is not None


def where_to_look(frame: FrameType | None) -> CodeType | None:
    """Return where the thread that is in a frame is to look; ``None`` if it need not.

    Not in functions of the console's, which are over soon; but for those that wait, and those that
    begin and end a cell's code.
    """
    while _FIND is not None and frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__")
        if not (isinstance(module, str) and module.startswith("rtconsole.")):
            return code
        if code in _BEGIN:
            return None
        if code in _WAIT:
            return code
        frame = frame.f_back
    return None


def is_entering(frame: FrameType) -> bool:
    """Tell whether a frame, of a thread that does not run just now, calls ``__enter__``."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return at >= 2 and (code[at], code[at - 2], code[at - 1]) == (_CALL, _FIND, _ENTER)


class Watch:
    """Has threads look for an interrupt at the next instruction of a function."""

    def __init__(self, look: Callable[[], None]) -> None:
        """
        Args:
            look: called in such a thread, raises it.
        """
        self._look = look
        self._number: int | None = None
        self._watched: dict[int, CodeType] = {}

    def begin(self, thread: int, code: CodeType) -> None:
        """Have a thread look once, when it comes to ``code`` next; unless others are all tools."""
        self._leave(thread)
        if self._number is None:
            free = [number for number in _NUMBERS if _monitoring.get_tool(number) is None]
            if not free:
                return
            _monitoring.use_tool_id(free[0], "rtconsole")
            self._number = free[0]
            _monitoring.register_callback(free[0], _monitoring.events.INSTRUCTION, self._step)
        self._watched[thread] = code
        _monitoring.set_local_events(self._number, code, _monitoring.events.INSTRUCTION)

    def is_on(self, thread: int, code: CodeType) -> bool:
        """Tell whether a thread is still to look in ``code``."""
        return self._watched.get(thread) is code

    def end(self, thread: int) -> None:
        """A thread need not look any more, whether it has or not."""
        self._leave(thread)
        if self._number is not None and not self._watched:
            _monitoring.free_tool_id(self._number)
            self._number = None

    def _step(self, code: CodeType, offset: int) -> None:
        thread = get_ident()
        if self._watched.get(thread) is code:
            self._leave(thread)
            self._look()

    def _leave(self, thread: int) -> None:
        code = self._watched.pop(thread, None)
        if code is not None and code not in self._watched.values():
            _monitoring.set_local_events(self._number, code, 0)
