"""Functions in which no signal's handler is called until they call something.

The interpreter calls the handlers of signals, in the main thread, where its code looks for them:
as a function is entered, and after a call of a function in C (the "eval breaker",
Python/ceval.c). A handler may raise. As a text stream hands its text to its buffer it has let go
of it, of some kilobytes: a function of ours on that buffer would lose it, if it were left before it
has called the original. To block signals costs more than a print. But there are places where the
interpreter does not look: where a function goes on after an ``await``, and where an operator of a
class is a function in C. So ours are entered as if they went on, and call by operators.

What is done so is called *quiet* here. A call in the usual way is quiet, too, of a quiet function.
"""

from collections.abc import Callable
from opcode import opmap
from types import CodeType, FunctionType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_RESUME = opmap["RESUME"]

# Arguments of that instruction, with which each function begins: at its start, or after it has
# awaited something (https://docs.python.org/3/library/dis.html#opcode-RESUME).
_START, _AFTER_AWAIT = 0, 3


def quiet(function: F) -> F:
    """Return a function that is entered without a look for signals."""
    return _with_code(function, _without_a_look(function.__code__))


def makes_quiet(function: F) -> F:
    """Return a function in which each ``def`` makes a quiet one.

    They have their code from the start: a function whose code is changed is called more slowly.
    """
    code = function.__code__
    parts = [_without_a_look(x) if isinstance(x, CodeType) else x for x in code.co_consts]
    return _with_code(function, code.replace(co_consts=tuple(parts)))


def step(function: Callable[[Any], Any]) -> Any:
    """Return an object of which ``[x]`` is ``function(x)``, for a function in C."""
    return type("Step", (), {"__getitem__": staticmethod(function)})()


def step_of_two(function: Callable[[Any, Any], Any]) -> Any:
    """Likewise an object of which ``[x] = y`` is ``function(x, y)``, whose result is lost."""
    return type("StepOfTwo", (), {"__setitem__": staticmethod(function)})()


def look(function: Callable[[], Any]) -> Any:
    """Likewise an object of which ``-x`` is ``function()``."""
    return type("Look", (), {"__neg__": staticmethod(function)})()


def _with_code(function: F, code: CodeType) -> F:
    own: Any = function
    made: Any = FunctionType(code, own.__globals__, own.__name__, own.__defaults__, own.__closure__)
    for name in ("__kwdefaults__", "__annotations__", "__doc__", "__module__", "__qualname__"):
        setattr(made, name, getattr(own, name))
    changed: F = made
    return changed


def _without_a_look(code: CodeType) -> CodeType:
    words = bytearray(code.co_code)
    at = words.index(_RESUME)
    while at % 2:  # it is an argument
        at = words.index(_RESUME, at + 1)
    if words[at + 1] == _START:
        words[at + 1] = _AFTER_AWAIT
    return code.replace(co_code=bytes(words))
