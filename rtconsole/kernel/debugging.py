"""Debuggers that a cell starts (``%debug``, ``breakpoint()``): they ask the client, and so do
without readline.

To import readline takes the process's terminal: it handles SIGWINCH from then on, and the
program's ``input()`` edits lines. Where the program uses it, pdb sets the delimiters of its
completion. ``pdb`` and ``code`` are imported here, in the boot, since Python 3.13's pdb imports
readline by way of rlcompleter, and a boot is kept from that.
"""

import builtins
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from rtconsole.recorder import hide_frame

from . import cell, sources, unseen
from .rebound import rebound

_had_rlcompleter = "rlcompleter" in sys.modules
import code  # noqa: E402
import pdb  # noqa: E402

if not _had_rlcompleter and (_rlcompleter := sys.modules.pop("rlcompleter", None)) is not None:
    # It has not found readline; the program's import of it will. What pdb keeps of it is not to
    # keep __main__, which only a completer without a namespace asks for, at the program's end.
    vars(_rlcompleter).pop("__main__", None)


def routes() -> list[tuple[Any, str, Callable[[Any], Any]]]:
    """Return what :class:`.cell.Routes` is to replace while a cell runs."""
    return [(pdb.Pdb, "__init__", _init), (code, "interact", _interact)]


def _init(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def __init__(self: Any, completekey: Any = "tab", *arguments: Any, **options: Any) -> None:
        try:
            if cell.running() is None:
                original(self, completekey, *arguments, **options)
            else:  # with no key that completes, cmd.Cmd does not import readline either
                _without_terminal(original)(self, None, *arguments, **options)
                self.stop_here = _outside_ours(self.stop_here)
                unseen.debug(self)
                sources.ask_frames(self, "getsourcelines", "_getsourcelines")
        except BaseException as error:
            hide_frame(error)
            raise

    return __init__


def _outside_ours(stop_here: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a ``bdb.Bdb.stop_here`` for which looking up a cell's names is no step.

    Not bdb's ``skip``: IPython's debugger prints a line for each that is skipped.
    """

    def stop_outside_ours(frame: Any) -> Any:
        name = frame.f_globals.get("__name__") or ""
        return not str(name).startswith("rtconsole.") and stop_here(frame)

    return stop_outside_ours


def _interact(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def interact(*arguments: Any, **options: Any) -> None:
        try:
            used = original if cell.running() is None else _without_terminal(original)
            used(*arguments, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return interact


def _without_terminal(function: Any) -> Any:
    """Return a function of the same code, for which there is no readline and no pyrepl."""
    return rebound(
        function,
        __builtins__={**vars(builtins), "__import__": _import},
        _pyrepl_available=lambda: False,  # Python 3.15: it reads the terminal, not input()
    )


def _import(name: str, *arguments: Any, **options: Any) -> Any:
    if name == "readline":
        raise ImportError("a cell has no terminal for readline")
    return builtins.__import__(name, *arguments, **options)
