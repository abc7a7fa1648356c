"""What a frame's source is, without a question to the disk about each module.

``inspect`` asks for the real path of each, some thousands of system calls, to tell which one a
frame is of. Each lets go of the interpreter, and beside a program that computes it takes 5 ms to
have it again: the first traceback took twenty seconds. But a frame names its module.
"""

import builtins
import inspect
import os
import sys
from types import FrameType, MethodType, SimpleNamespace
from typing import Any

from IPython.core import tbtools

from .rebound import rebound


def _module_of(thing: Any, filename: str | None = None) -> Any:
    """As ``inspect.getmodule``; of a frame only a module that says that it is from that file."""
    if not isinstance(thing, FrameType):
        return inspect.getmodule(thing, filename)
    name = thing.f_globals.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return None
    return module if os.path.abspath(file) == os.path.abspath(thing.f_code.co_filename) else None


_file_of = rebound(inspect.getsourcefile, getmodule=_module_of)
_find = rebound(inspect.findsource, getmodule=_module_of, getsourcefile=_file_of)
_lines_of = rebound(inspect.getsourcelines, findsource=_find)
_inspect = SimpleNamespace(
    **{
        **vars(inspect),
        "getmodule": _module_of,
        "getsourcefile": _file_of,
        "findsource": _find,
        "getsourcelines": _lines_of,
    }
)


def _import(name: str, *arguments: Any, **options: Any) -> Any:
    """IPython's functions import it when they run."""
    return _inspect if name == "inspect" else builtins.__import__(name, *arguments, **options)


def _asking_frames(function: Any, **names: Any) -> Any:
    builtin = {**vars(builtins), "__import__": _import}
    return rebound(function, inspect=_inspect, __builtins__=builtin, **names)


class _FrameInfo(tbtools.FrameInfo):
    __init__ = _asking_frames(tbtools.FrameInfo.__init__)


def ask_frames(owner: Any, *methods: str) -> None:
    """Have these methods of an object of IPython's, as far as it has them, ask so."""
    for name in methods:
        function = getattr(type(owner), name, None)
        if function is not None:
            copy = _asking_frames(function, FrameInfo=_FrameInfo)
            setattr(owner, name, MethodType(copy, owner))
