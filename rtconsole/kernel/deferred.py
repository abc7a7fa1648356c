"""Modules that the kernel's imports name, and the kernel hardly ever uses: loaded when used.

``jupyter_client`` brings all of its clients and managers, ``tornado`` a URL parser, and so on:
a third of what a boot would load, and as much of what the interpreter has to clear at the
program's end. Such a module is entered in ``sys.modules``, as the import system makes it, and
its code is run when somebody first asks for one of its names, the program as likely as we.

(importlib's LazyLoader runs a package as soon as one of its submodules is imported, which is
the very thing to be kept from, and cannot help where a name is imported from a module.)
"""

import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import _bootstrap
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from . import filters, finders

# Each with the functions that the kernel's own modules import from it by name: they get a
# stand-in, which loads it when it is called.
MODULES: dict[str, tuple[str, ...]] = {
    "curses": (),
    "dateutil.parser": ("isoparse",),
    "dateutil.tz": ("tzlocal",),
    "html": (),
    "ipykernel": ("connect_qtconsole", "get_connection_file", "get_connection_info"),
    "jupyter_client": (),
    "jupyter_core.paths": ("jupyter_runtime_dir",),
    "logging.config": ("dictConfig",),
    "packaging.version": ("Version",),
    "platformdirs": (),
    "pprint": ("pformat",),
    "random": (),
    "tempfile": (),
    "urllib.parse": ("quote_from_bytes",),  # pathlib, until Python 3.12
    "zmq.eventloop": (),
    # its import calls time.tzset(): a program whose TZ has changed since would see another time
    "_strptime": ("_strptime_datetime", "_strptime_datetime_datetime"),  # the latter since 3.14
}

_ALL = MODULES.keys()

# Where the submodules of deferred packages are; and which modules a thread is running.
_paths: dict[str, Any] = {}
_loading: dict[str, int] = {}

# Asked for by the import system, and by who goes through all of ``sys.modules``.
_LOADED_FOR = frozenset(["__all__", "__version__"])


class Deferred(ModuleType):
    """A module whose code is not run yet; once it is, a plain module."""

    def __getattr__(self, name: str) -> Any:
        """Return what the module has not: from then on it does, or raise AttributeError."""
        if _loading.get(self.__name__) == threading.get_ident():
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        is_for_kernel = _booting is not None and _booting.thread == threading.get_ident()
        if name == "__path__" and self.__name__ in _paths:
            # Asked for by an import of a submodule, which anybody else's package has been
            # run before: its modules may import each other in that order only. Or by who goes
            # through all of ``sys.modules``, and must not find more of them meanwhile.
            asker = sys._getframe(1).f_code.co_filename
            if is_for_kernel or asker != "<frozen importlib._bootstrap>":
                return _paths[self.__name__]
        elif name[:2] == "__" and name not in _LOADED_FOR:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        elif is_for_kernel and name in MODULES[self.__name__]:
            return _stand_in(self, name)
        load(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, which the module's own must not replace later."""
        # those of the import system: its own, and a package's submodules
        if name[:2] != "__" and not isinstance(value, ModuleType):
            load(self)  # does nothing for the module's own code
        ModuleType.__setattr__(self, name, value)  # not super(): it is another class by now

    def __delattr__(self, name: str) -> None:
        load(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> Any:
        load(self)
        return ModuleType.__dir__(self)


def load(module: ModuleType) -> None:
    """Run a module's code, unless that is done or this thread is at it."""
    # the lock of its import, with which the import system knows of deadlocks
    bootstrap: Any = _bootstrap
    with bootstrap._ModuleLockManager(module.__name__):
        if type(module) is Deferred and module.__name__ not in _loading:
            _run(module)


def _run(module: Deferred) -> None:
    name, spec = module.__name__, module.__spec__
    loading: Any = spec
    _loading[name] = threading.get_ident()
    loading._initializing = True  # others that import it wait for the lock
    if name in _paths:
        module.__path__ = _paths[name]
    try:
        loading.loader.exec_module(module)
    except BaseException:
        vars(module).pop("__path__", None)
        raise
    else:
        ModuleType.__setattr__(module, "__class__", ModuleType)
    finally:
        loading._initializing = False
        del _loading[name]


def _stand_in(module: ModuleType, name: str) -> Callable[..., Any]:
    """Return a function that calls the one of that name in a module."""
    if (module.__name__, name) == ("dateutil.parser", "isoparse"):
        return _isoparse  # called for each message
    if module.__name__ == "_strptime":
        return _strptime  # called by modules that want it to be imported

    def function(*arguments: Any, **options: Any) -> Any:
        return getattr(module, name)(*arguments, **options)

    return function


def _isoparse(text: str) -> datetime:
    """Return the time that an ISO 8601 text names; as dateutil's, for what messages have."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        import dateutil.parser

        parsed: datetime = dateutil.parser.isoparse(text)
        return parsed


def _strptime(cls: type[datetime], *_: Any) -> datetime:
    """Return a time, which nobody uses."""
    return cls.min


class _Node(type):
    """A class of astroid's: what is one of its is known once somebody has imported it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, getattr(sys.modules.get("astroid.nodes"), cls.__name__, ()))


class _Nodes:
    def __getattr__(self, name: str) -> _Node:
        return _Node(name, (), {})


class _Without:
    """Finds no ``astroid`` for one thread, on ``sys.meta_path``."""

    def __init__(self, get_ident: Callable[[], int]) -> None:
        self.get_ident, self.thread = get_ident, get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "astroid" and self.get_ident() == self.thread:
            raise ModuleNotFoundError(f"a traceback does without {name}", name=name)


@contextmanager
def without_astroid(get_ident: Callable[[], int]) -> Iterator[None]:
    """In the with block this thread imports ``asttokens`` without ``astroid``, for which it asks.

    It wants to know its nodes, too: 0.1 s and 130 modules, of which one adds a filter to the
    program's warnings (astroid/builder.py). Once somebody has imported it they are known.

    Args:
        get_ident: ``_thread.get_ident``, and no program's replacement of it.
    """
    if not {"astroid", "asttokens", "stack_data"}.isdisjoint(sys.modules):
        yield
        return
    compat: Any = ModuleType("asttokens.astroid_compat", "Without importing astroid.")
    compat.astroid_node_classes, compat.NodeNG = _Nodes(), None
    compat.BaseContainer = _Node("BaseContainer", (), {})
    sys.modules.setdefault(compat.__name__, compat)
    finders.put(without := _Without(get_ident))
    try:
        yield
    finally:
        finders.take(without)
    util: Any = sys.modules.get("asttokens.util")
    if hasattr(util, "CONSTANT_CLASSES"):  # not of another version
        util.CONSTANT_CLASSES = (*util.CONSTANT_CLASSES, _Node("Const", (), {}))


class _Loader:
    """Enters a module without running it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self._loader
        if "__path__" in vars(module):
            _paths[module.__name__] = vars(module).pop("__path__")
        ModuleType.__setattr__(module, "__class__", Deferred)


class _Finder:
    """Finds modules of ``MODULES`` for one thread, on ``sys.meta_path``."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names
        self.thread = threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        is_spared = name in filters.MODULES and self.names is _ALL
        wanted = is_spared or name in self.names or name == "readline"
        if not wanted or threading.get_ident() != self.thread:
            return None
        if name == "readline":  # it takes the process's terminal: see .debugging
            raise ModuleNotFoundError(f"a boot does without {name}", name=name)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return None
        loader = filters.Loader if is_spared else _Loader
        spec.loader = loader(spec.loader)  # type: ignore[assignment]
        return spec


_booting: _Finder | None = None


@contextmanager
def imports(names: Collection[str] = _ALL) -> Iterator[None]:
    """Defer what this thread imports of ``MODULES`` in the with block; it is there but once.

    Args:
        names: those that are to be deferred.
    """
    global _booting
    _booting = _Finder(names)
    finders.put(_booting)
    try:
        yield
    except ImportError:
        # A package whose own code fails says why, and not just what is not there then.
        for name in MODULES:
            if type(module := sys.modules.get(name)) is Deferred:
                load(module)
        raise
    finally:
        finders.take(_booting)
        _booting = None
