"""The program's warning filters, which IPython's completer changes: when it is imported, for a
warning of its own, and for each completion.

Each change has Python forget which warnings were shown already (``warnings`` counts changes, and
a module's ``__warningregistry__`` says of which count it is): the program's would be shown again.
So that module gets other ``warnings``, in which there are no filters.
"""

import builtins
import types
import warnings
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ModuleSpec
from typing import Any

COMPLETER = "IPython.core.completer"
_ITS_OWN = "ProvisionalCompleterWarning"


class _Warnings(types.ModuleType):
    """``warnings``, for a module whose filters concern nothing but a warning of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def catch_warnings(self, **_: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def filterwarnings(self, *_: Any, **__: Any) -> None:
        pass

    simplefilter = filterwarnings

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        if getattr(category, "__name__", "") != _ITS_OWN:
            warnings.warn(message, category, stacklevel + 1, **options)


_warnings = _Warnings("warnings")


def spared(name: str, names: dict[str, Any]) -> dict[str, Any]:
    """Return the builtins of a module: those given, but with such an import for the completer."""
    if name != COMPLETER:
        return names

    def importing(name: str, *arguments: Any, **options: Any) -> Any:
        found = names["__import__"](name, *arguments, **options)
        return _warnings if name == "warnings" else found

    return {**names, "__import__": importing}


class Loader:
    """Runs the completer's code with those."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self._loader
        vars(module)["__builtins__"] = spared(COMPLETER, vars(builtins))
        self._loader.exec_module(module)
