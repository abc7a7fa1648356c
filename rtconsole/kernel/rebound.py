"""Functions of others, of which the console needs what differs by one name that they use."""

from types import FunctionType
from typing import Any


def rebound(function: Any, **names: Any) -> Any:
    """Return a function of the same code, which finds these by their names, not its module's.

    What its module has by other names is that of now.
    """
    if not isinstance(function, FunctionType):  # the program's own
        return function
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
