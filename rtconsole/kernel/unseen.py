"""Warnings that a console causes: the program is not told, and goes on knowing its own.

Who asks whether code is complete, completes or looks does not run it, and is not warned of it.
What changes the program's filters (:mod:`.filters`) the console has copies of: functions of
IPython's and ``codeop``, that see whether code is complete, and one of ``os``, that looks for the
executable of a process. In the modules are the originals.
"""

import asyncio
import builtins
import code
import codeop
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from IPython.core import inputtransformer2

from rtconsole.recorder import hide_frame

from . import cell, filters
from .rebound import rebound

_codeop: Any = codeop
_maybe_compile = rebound(_codeop._maybe_compile, warnings=filters.without_filters)


class _CommandCompiler(codeop.CommandCompiler):
    __call__ = rebound(codeop.CommandCompiler.__call__, _maybe_compile=_maybe_compile)


_compile_command = _CommandCompiler()
_compile_command.compiler = inputtransformer2.compile_command.compiler

_codeop_without_filters = SimpleNamespace(
    **{
        **vars(codeop),
        "compile_command": rebound(codeop.compile_command, _maybe_compile=_maybe_compile),
    }
)


class Transformer(inputtransformer2.TransformerManager):
    """Tells whether a cell is complete without changing the filters."""

    check_complete = rebound(
        inputtransformer2.TransformerManager.check_complete,
        warnings=filters.without_filters,
        compile_command=_compile_command,
    )


def routes() -> list[tuple[Any, str, Callable[[Any], Any]]]:
    """Return what :class:`.cell.Routes` is to replace while a cell runs."""
    found: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (warnings, "_showwarnmsg", _showwarnmsg),
        (code.InteractiveInterpreter, "__init__", _init),
        (sys.modules[filters.COMPLETER], "warnings", _ForCells),
        # the program's and ours, which may be others: see rtconsole.native
        *((one, "get_exec_path", _get_exec_path) for one in {sys.modules["os"], os}),
    ]
    if sys.platform != "win32" and (3, 12) <= sys.version_info < (3, 14):
        found.append((asyncio.SelectorEventLoop, "_make_subprocess_transport", _make_transport))
    return found


class _ForCells:
    """``warnings`` for IPython's completer where the program was the first to import it."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        found = self._original if cell.running() is None else filters.without_filters
        return getattr(found, name)


def _showwarnmsg(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """What ``warn`` calls, also that in C, with all that a warning is."""

    def _showwarnmsg(msg: Any) -> None:
        try:
            asking = cell.running()
            if asking is not None:
                if _is_of_a_compiler(msg) and (filters.is_unseen.get() or _asks(asking)):
                    return
                asking.warned.add((str(msg.message), msg.category, msg.lineno))
            original(msg)
        except BaseException as error:
            hide_frame(error)
            raise

    return _showwarnmsg


def _is_of_a_compiler(msg: Any) -> bool:
    """Tell whether a warning is of code that is in no file, and not of what it calls."""
    return str(msg.filename).startswith("<")


def _asks(asking: cell.Cell) -> bool:
    kinds = "complete_request", "inspect_request", "is_complete_request"
    return asking.parent.get("msg_type") in kinds


def _init(original: Callable[..., None]) -> Callable[..., None]:
    """A cell's ``code.interact``, and a debugger's, see after each line whether it is complete."""

    @wraps(original)
    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            original(self, *arguments, **options)
            if cell.running() is not None and type(self.compile) is codeop.CommandCompiler:
                self.compile = _CommandCompiler()
        except BaseException as error:
            hide_frame(error)
            raise

    return __init__


def debug(debugger: Any) -> None:
    """Have a debugger do likewise."""
    for name in ("default", "_read_code"):  # the latter since Python 3.14
        function = getattr(type(debugger), name, None)
        if isinstance(function, FunctionType) and "codeop" in function.__code__.co_names:
            copy = rebound(function, codeop=_codeop_without_filters)
            setattr(debugger, name, MethodType(copy, debugger))


def _get_exec_path(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Called where a process is started."""

    def get_exec_path(env: Any = None) -> list[str]:
        try:
            # with -b it is warned of keys that are bytes, with -bb that is an error
            if cell.running() is None or sys.flags.bytes_warning:
                return original(env)
            names = filters.with_import(vars(builtins))
            found: list[str] = rebound(original, __builtins__=names)(env)
            return found
        except BaseException as error:
            hide_frame(error)
            raise

    return get_exec_path


def _make_transport(original: Callable[..., Any]) -> Callable[..., Any]:
    """asyncio's, which asks for what waits for a child, and is warned that nobody should ask."""

    def _make_subprocess_transport(self: Any, *arguments: Any, **options: Any) -> Any:
        if cell.running() is None:
            return original(self, *arguments, **options)
        watching = SimpleNamespace(get_child_watcher=_child_watcher)
        make = rebound(original, warnings=filters.without_filters, events=watching)
        return make(self, *arguments, **options)

    return _make_subprocess_transport


def _child_watcher() -> Any:
    """Return what asyncio takes if nobody has set another."""
    unix: Any = sys.modules["asyncio.unix_events"]
    return unix.PidfdChildWatcher() if unix.can_use_pidfd() else unix.ThreadedChildWatcher()


def forget(names: dict[str, Any], warned: set[tuple[str, Any, int]]) -> bool:
    """Forget what a client was warned of: the program was not.

    Args:
        names: a module's.
        warned: text, category and line; it is empty afterwards.

    Returns:
        Whether the program was warned of something.
    """
    registry = names.get("__warningregistry__")
    if not isinstance(registry, dict):
        return False
    while warned:
        text, category, line = warned.pop()
        registry.pop((text, category, line), None)
        registry.pop((text, category, 0), None)
    return not registry.keys() <= {"version"}
