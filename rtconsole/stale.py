"""Is what this process has of the package stale, since it was upgraded on the disk?

A program may run for months and be looked into then: what it would import of an upgraded package
need not fit to what it has. Standard library only. This module and :mod:`.refusal` use nothing of
the rest but what is said here, so that those that an upgrade brings fit to whatever is there.
"""

import sys
import types
from collections.abc import Iterator
from typing import Any


def require_same(package: str) -> None:
    """Raise ImportError if code of the package, as imported, is not that of its files."""
    if is_another(package):
        raise ImportError(
            f"{package} was upgraded since the program began: restart it for a console"
        )


def tell(console: Any, ready: Any) -> bool:
    """Tell who rang why there is no console; false if the parked thread is to end.

    Called in that thread, while the error is handled by which it failed. Only an ImportError is
    told of: for others it could be forbidden to.

    Args:
        console: the listener.
        ready: what :func:`select.poll` has found.
    """
    error = sys.exc_info()[1]
    if not isinstance(error, ImportError) or not ready or console.pipe[0] in dict(ready):
        return False
    from . import refusal

    refusal.serve(console, str(error), 0.0)
    if console.state == "closed":
        return False
    console.gone.acquire(blocking=False)  # released as the boot began
    console.state = "parked"
    return True


def is_another(package: str) -> bool:
    """Tell whether code of a package's modules, as imported, is not that of their files.

    Not of packages in it: code of :mod:`.kernel` is changed as it is imported (kernel.quiet).

    Args:
        package: its name.
    """
    for name, module in list(sys.modules.items()):
        if name in (package, f"{package}.{name.rpartition('.')[2]}"):
            loader: Any = getattr(getattr(module, "__spec__", None), "loader", None)
            try:
                found = set(_within(loader.get_code(name)))
            except (AttributeError, ImportError, OSError):  # it is gone
                return True
            made = {
                code for code in _of(module) if code.co_filename != "<string>"
            }  # but a dataclass's
            if not made <= found:
                return True
    return False


def _within(code: Any) -> Iterator[types.CodeType]:
    """Yield a code object and those that are made in it, however deep."""
    if isinstance(code, types.CodeType):
        yield code
        for constant in code.co_consts:
            yield from _within(constant)


def _of(module: Any) -> Iterator[types.CodeType]:
    """Yield the code of a module's functions and methods."""
    own = [x for x in vars(module).values() if getattr(x, "__module__", None) == module.__name__]
    methods = [method for x in own if isinstance(x, type) for method in vars(x).values()]
    for function in (*own, *methods):
        while hasattr(function, "__wrapped__"):  # a context manager's is contextlib's
            function = function.__wrapped__
        if isinstance(function, types.FunctionType) and function.__globals__ is vars(module):
            yield function.__code__
