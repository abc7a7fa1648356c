"""What a cell's names mean: the program's real globals, with IPython's own names beside them.

A cell is run with the program's module dict itself as its globals, so that functions
typed into it find the program's names; and with a :class:`Namespace` as its locals, which
passes everything through to that dict and keeps IPython's names (``In``, ``_``, ``exit``)
to itself. The program's dict gets exactly the names that the user assigned.
"""

import re
import sys
import types
from collections.abc import Iterator, MutableMapping
from typing import Any

# Names that IPython sets by itself: they never go to the program.
_AUTOMATIC = re.compile(r"_{1,3}|_\d+|_i{1,3}|_i\d+|_[iod]h|In|Out|_exit_code|__session__")

# Found in the console even if the program has one: the magics are calls of it.
_CONSOLE_FIRST = frozenset(["get_ipython"])


# Set by `!command` of IPython; and by Python 3.14 and later in each piece of code that has
# an annotation, where they would take the place of those of the program's own module, which
# would lose all of its `__annotations__`.
_OF_THE_CELL = frozenset(["_exit_code", "__annotate__", "__conditional_annotations__"])


class Scope:
    """Where cells run: the program's ``__main__``, whatever module that is at the time.

    ``__main__`` may be filled later (``-m``, a zip application) or be another module later
    (``runpy``, multiprocessing's ``__mp_main__``), so it is looked up each time.
    """

    def __init__(self) -> None:
        self._last: types.ModuleType = types.ModuleType("__main__")

    @property
    def module(self) -> types.ModuleType:
        main = sys.modules.get("__main__")
        if isinstance(main, types.ModuleType):
            self._last = main
        return self._last

    @property
    def globals(self) -> dict[str, Any]:
        """The dict that is a cell's globals: the real one."""
        module = self.module
        if module.__dict__.get("__name__") == "__mp_main__":
            return _globals_of_its_functions(module)
        return module.__dict__

    @property
    def locals(self) -> MutableMapping[str, Any] | None:
        """Names that come before the globals: a function's variables, or ``None``."""
        return None


class DictScope(Scope):
    """Cells run in any dict, as in a module that has it as its globals."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        super().__init__()
        self._globals = namespace
        self._module = _module_around(namespace)

    @property
    def module(self) -> types.ModuleType:
        return self._module

    @property
    def globals(self) -> dict[str, Any]:
        return self._globals


class FrameScope(DictScope):
    """Cells run inside a function: its variables, live, before its module's globals.

    Since Python 3.13 an assignment in a cell sets the function's variable (PEP 667).
    Before, a running function's variables can be read only: an assignment is seen by
    cells, not by the function.
    """

    def __init__(self, frame: types.FrameType) -> None:
        super().__init__(frame.f_globals)
        self._locals = _FrameLocals(frame)

    @property
    def locals(self) -> MutableMapping[str, Any] | None:
        return self._locals


class _FrameLocals(MutableMapping[str, Any]):
    """A frame's variables and, over them, what cells assigned and could not be set there."""

    def __init__(self, frame: types.FrameType) -> None:
        self._frame = frame
        self._assigned: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._assigned:
            return self._assigned[name]
        return self._frame.f_locals[name]

    def __setitem__(self, name: str, value: object) -> None:
        if sys.version_info >= (3, 13) and name in self._frame.f_locals:
            self._frame.f_locals[name] = value
        else:
            self._assigned[name] = value

    def __delitem__(self, name: str) -> None:
        # a function's variable cannot be unset from outside: ValueError or KeyError says so
        if name in self._assigned:
            del self._assigned[name]
        else:
            del self._frame.f_locals[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._frame.f_locals, **self._assigned})

    def __len__(self) -> int:
        return len({**self._frame.f_locals, **self._assigned})


class Namespace(dict[str, Any]):
    """A cell's locals: the scope's names, and the console's own where the scope has none.

    A subclass of dict because IPython insists on one; the inherited storage stays empty.

    Attributes:
        scope: whose names these are.
        hidden: IPython's own names, which ``%who`` does not show.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope
        self.hidden: dict[str, Any] = {}

    def _layers(self, name: str) -> tuple[MutableMapping[str, Any], ...]:
        scope = self.scope
        if name in _CONSOLE_FIRST or (name in _OF_THE_CELL and name in self.hidden):
            return (self.hidden,)
        if scope.locals is None:
            return (scope.globals, self.hidden)
        return (scope.locals, scope.globals, self.hidden)

    def __getitem__(self, name: str) -> Any:
        for layer in self._layers(name):
            try:
                return layer[name]
            except KeyError:
                pass
        raise KeyError(name)

    def __setitem__(self, name: str, value: object) -> None:
        if name in _OF_THE_CELL:
            self.hidden[name] = value
        elif self.scope.locals is not None:
            self.scope.locals[name] = value
        else:
            self.scope.globals[name] = value

    def __delitem__(self, name: str) -> None:
        for layer in self._layers(name):
            if name in layer:
                del layer[name]
                return
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(name in layer for layer in self._layers(name))

    def _merged(self) -> dict[str, Any]:
        merged = {**self.hidden, **self.scope.globals}
        if self.scope.locals is not None:
            merged.update(self.scope.locals)
        return merged

    def __iter__(self) -> Iterator[str]:
        return iter(self._merged())

    def __len__(self) -> int:
        return len(self._merged())

    def __repr__(self) -> str:
        return repr(self._merged())

    def __eq__(self, other: object) -> bool:
        return self._merged() == other

    __hash__ = None

    def keys(self) -> Any:
        return self._merged().keys()

    def values(self) -> Any:
        return self._merged().values()

    def items(self) -> Any:
        return self._merged().items()

    def copy(self) -> dict[str, Any]:
        return self._merged()

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self.update({name: default})
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a name; one of IPython's automatic names from the console's only."""
        if _AUTOMATIC.fullmatch(name):
            return self.hidden.pop(name, *default)
        try:
            value = self[name]
        except KeyError:
            if default:
                return default[0]
            raise
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        raise TypeError("the names of a running program are not taken one by one")

    def update(self, *others: Any, **names: Any) -> None:
        """Set names; IPython's stay with the console, also when it copies all names back."""
        for name, value in dict(*others, **names).items():
            if _AUTOMATIC.fullmatch(name):
                self.hidden[name] = value
            elif name in self.hidden and self.hidden[name] is value:
                continue
            else:
                self[name] = value

    def clear(self) -> None:
        """Forget the console's own names. The program's are not cleared: it runs on them."""
        self.hidden.clear()


def _globals_of_its_functions(module: types.ModuleType) -> dict[str, Any]:
    """Return the dict in which the functions of a spawned process's main script look.

    multiprocessing runs the script with ``runpy.run_path`` and copies the names into
    ``__mp_main__``: what its functions set and see is not in the module but in the dict
    that was copied, which only they know.
    """
    for value in list(module.__dict__.values()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            return value.__globals__
    return module.__dict__


def _module_around(namespace: dict[str, Any]) -> types.ModuleType:
    """Return a module object with ``namespace`` as its dict, for IPython.

    A module's dict cannot be chosen, so this is a subclass that shows another one.
    """

    class Around(types.ModuleType):
        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            return namespace

        def __getattr__(self, name: str) -> Any:
            try:
                return namespace[name]
            except KeyError:
                raise AttributeError(name) from None

    return Around(str(namespace.get("__name__", "__main__")))
