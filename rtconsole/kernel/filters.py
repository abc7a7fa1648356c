"""The program's warning filters, which IPython changes, and functions that it calls.

Each change has Python forget which warnings were shown already (``warnings`` counts changes, and
a module's ``__warningregistry__`` says of which count it is): the program's would be shown again.
And they are all threads': the program has them, too, and what it adds meanwhile is lost. So who
changes them for the console gets other ``warnings``, in which there are none: see :mod:`.unseen`.

The completer does when it is imported, for a warning of its own, and for each completion. It is
imported with that: hardly anybody else uses it.

And the program's ``__import__``, which pyzmq calls whenever a socket is asked for an option: where
a test has replaced it, that would be counted; or raise, and our threads fail again and again.
"""

import builtins
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec
from typing import Any

from rtconsole import originals

COMPLETER = "IPython.core.completer"
_OPTIONS = "zmq.sugar.attrsettr"
MODULES = (COMPLETER, _OPTIONS)
_ITS_OWN = "ProvisionalCompleterWarning"


is_unseen: ContextVar[bool] = ContextVar("rtconsole_unseen", default=False)


class _Warnings(types.ModuleType):
    """``warnings``, but what filters would change meanwhile is just not shown."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    @contextmanager
    def catch_warnings(self, **_: Any) -> Iterator[None]:
        token = is_unseen.set(True)
        try:
            yield
        finally:
            is_unseen.reset(token)

    def filterwarnings(self, *_: Any, **__: Any) -> None:
        pass

    simplefilter = filterwarnings

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        if getattr(category, "__name__", "") != _ITS_OWN:
            warnings.warn(message, category, stacklevel + 1, **options)


without_filters = _Warnings("warnings")


def spared(name: str, names: dict[str, Any]) -> dict[str, Any]:
    """Return the builtins of a module: those given, but with another import for ``MODULES``."""
    if name == _OPTIONS:
        return {**names, **originals} if names is vars(builtins) else names
    return with_import(names) if name == COMPLETER else names


def with_import(names: dict[str, Any]) -> dict[str, Any]:
    """Return these builtins, but with an import that finds those ``warnings``."""

    def importing(name: str, *arguments: Any, **options: Any) -> Any:
        found = names["__import__"](name, *arguments, **options)
        return without_filters if name == "warnings" else found

    return {**names, "__import__": importing}


class Loader:
    """Runs the code of one of ``MODULES`` with those."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self._loader
        vars(module)["__builtins__"] = spared(spec.name, vars(builtins))
        self._loader.exec_module(module)
