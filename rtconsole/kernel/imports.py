"""The kernel's own imports, where the program has modules of the same names, or patches them.

A ``comm.py``, ``queue.py`` or ``zmq.py`` beside the script comes first on ``sys.path``: the
kernel would import it, and break, and the program's module would be run by us. So where
there are such names, and only then, the kernel's modules are loaded with an ``__import__``
of their own, which finds these names in the standard library and site-packages. The
program's ``import comm`` goes on finding the program's. Where the standard library may be
patched the same ``__import__`` gives the kernel our instances of it (:mod:`rtconsole.native`).
It serves also where Python puts all imports off: ours are made when they are written.
(Hardly anything is deferred in any of these cases, see :mod:`.deferred`: what is run later would
be run without that.)

A name that the program has imported already is loaded a second time, under an alias; one
that it has not is loaded under its own name (pyzmq's C code imports ``zmq`` by that) and
taken out of ``sys.modules`` again.
"""

import asyncio
import builtins
import functools
import importlib
import os
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any

from rtconsole import originals
from rtconsole.native import module_locks

from . import deferred, filters, finders

# What the kernel imports beside the standard library.
_PACKAGES = frozenset(
    """
    IPython appnope asttokens colorama comm dateutil decorator executing ipykernel
    ipython_pygments_lexers jedi jupyter_client jupyter_core matplotlib_inline nest_asyncio
    nest_asyncio2 packaging parso pexpect platformdirs prompt_toolkit psutil ptyprocess
    pure_eval pygments six stack_data tornado traitlets typing_extensions wcwidth zmq
    """.split()  # noqa: SIM905  # one word per name, not three signs more
)
_ALIAS = "_rtconsole_site"

# The standard library in an embedded or frozen distribution.
_STANDARD_ZIP = "python{}{}.zip".format(*sys.version_info[:2])

# What import statements call; the second, from Python 3.15 on, those that are put off until what
# they import is used (PEP 810). Ours are not: it may be used at any moment then, by any thread.
_IMPORTERS = "__import__", "__lazy_import__"

# Deferred in any case: of the program's alone when they are run. What `dateutil` imports up to 2.9,
# `six`, leaves a finder on `sys.meta_path` for good.
_ANYBODYS = frozenset(["_strptime"])
_DATEUTIL = frozenset(["dateutil.parser", "dateutil.tz"])

# Imported by C code, by its own name: no alias would do.
_NO_ALIAS = frozenset(["zmq"])


def trusted_path() -> list[str]:
    """Return the entries of ``sys.path`` that are not the program's own folders.

    Not asked of ``sysconfig``, which takes a lock, to read for milliseconds how Python was built.
    """
    library = os.path.dirname(os.__file__)
    compiled = os.path.join(sys.base_exec_prefix, sys.platlibdir, os.path.basename(library))
    standard = {os.path.realpath(folder) for folder in (library, compiled)}
    ours = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))

    def is_trusted(entry: str) -> bool:
        if not entry:
            return False
        real = os.path.realpath(entry)
        return (
            os.path.dirname(real) in standard  # lib-dynload
            or real in (*standard, ours)
            or os.path.basename(real) in ("site-packages", "dist-packages")
            or os.path.basename(real) == _STANDARD_ZIP
        ) and real not in (os.path.realpath(os.getcwd()), _script_folder())

    return [entry for entry in sys.path if is_trusted(entry)]


def _script_folder() -> str:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.dirname(os.path.realpath(file)) if file else ""


def shadowed_names(trusted: list[str]) -> set[str]:
    """Return the names we import that the program's own folders have, too."""
    found: set[str] = set()
    for entry in sys.path:
        if entry in trusted:
            continue
        try:
            names = os.listdir(entry or os.curdir)
        except OSError:
            continue
        found.update(name.partition(".")[0] for name in names)
    ours = _PACKAGES | sys.stdlib_module_names - set(sys.builtin_module_names)
    return {name for name in found & ours if PathFinder.find_spec(name, trusted) is not None}


class OwnImports:
    """Loads modules for the kernel although the program's have the same names."""

    def __init__(
        self,
        trusted: list[str],
        shadowed: set[str],
        natives: Mapping[str, types.ModuleType],
    ) -> None:
        """
        Args:
            trusted: where the kernel's modules are looked for.
            shadowed: names that the program has modules of.
            natives: what the kernel is given of the standard library, by name.

        Raises:
            ImportError: the program has imported a module that we cannot do without.
        """
        self._trusted = trusted
        self._natives = natives
        self._shadowed = shadowed
        self._thread: Any = natives.get("_thread") or sys.modules["_thread"]
        self._get_ident = self._thread.get_ident
        # those the program has imported, its own module under that name
        self._taken = {name for name in shadowed if name in sys.modules} - {
            name for name in shadowed if self._is_ours(sys.modules.get(name))
        }
        self._free = shadowed - self._taken - set(sys.modules)
        self._kept: dict[str, types.ModuleType] = {}
        self._lock = self._thread.RLock()
        self._inside = 0  # the thread that is importing
        if name := next(iter(self._taken & _NO_ALIAS), None):
            theirs = getattr(sys.modules[name], "__file__", None)
            raise ImportError(f"the program has a module {name!r} of its own: {theirs}")
        # a cell's input() is led to the client by what is in builtins then
        common = {**vars(builtins), "input": lambda *prompt: builtins.input(*prompt)}
        common.update(originals)
        self._builtins = {**common, **dict.fromkeys(_IMPORTERS, self._import)}
        # of what the program shares with us, first imported by us: it gets no instances of ours
        own = dict.fromkeys(_IMPORTERS, self._import_for_others)
        self._others_builtins = {**common, **own}
        alias = types.ModuleType(_ALIAS, "Second copies of modules, for rtconsole.")
        alias.__path__ = trusted
        sys.modules.setdefault(_ALIAS, alias)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        """In a forked child the thread that was importing is not there."""
        self._lock = self._thread.RLock()
        self._inside = 0
        finders.take(self)

    def _is_ours(self, module: types.ModuleType | None) -> bool:
        file = getattr(module, "__file__", None)
        return file is None or any(file.startswith(entry + os.sep) for entry in self._trusted)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Import for the kernel, in this thread, in the with block.

        Ours of the free names are in ``sys.modules`` meanwhile, for all to see: for the
        time of the boot, and of a later import of something not loaded yet.
        """
        with self._lock:
            if self._inside:
                yield
                return
            self._inside = self._get_ident()
            finders.put(self)
            theirs = {name: sys.modules[name] for name in self._kept.keys() & sys.modules.keys()}
            sys.modules.update(self._kept)
            try:
                yield
            finally:
                finders.take(self)
                for name in self._free & sys.modules.keys():
                    if self._is_ours(sys.modules[name]):
                        self._kept[name] = sys.modules.pop(name)
                sys.modules.update(theirs)
                self._inside = 0

    def _loaded(self, name: str, top: str, fromlist: Any) -> Any:
        """Return what an import of a free name gives, if nothing need be loaded for it."""
        package = self._kept.get(top)
        module = package if name == top else sys.modules.get(name)
        if package is None or module is None:
            return None
        if any(item != "*" and not hasattr(module, item) for item in fromlist or ()):
            return None
        return module if fromlist else package

    def _native(self, name: str, fromlist: Any) -> Any:
        """Return what an import of one of our instances gives: of packages there is only os."""
        top, _, rest = name.partition(".")
        module = self._natives[top]
        return getattr(module, rest) if rest and fromlist else module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find a module for the importing thread, as a finder on ``sys.meta_path``."""
        if self._get_ident() != self._inside:
            return None
        if path is None and name in self._free:
            spec = PathFinder.find_spec(name, self._trusted)
        else:
            # in a forked child there may be the one that its parent's modules know, too
            others = finders.others(OwnImports)
            specs = (finder.find_spec(name, path, target) for finder in others)
            spec = next((spec for spec in specs if spec is not None), None)
        loader = spec.loader if spec is not None else None
        if isinstance(loader, SourceFileLoader) and (self._shadowed or _is_kernels(name)):
            setattr(loader, "exec_module", functools.partial(self._exec_module, loader))  # noqa: B010
        return spec

    def _exec_module(self, loader: Any, module: types.ModuleType) -> None:
        del loader.exec_module
        ours = _is_kernels(module.__name__)
        names = self._builtins if ours else self._others_builtins
        vars(module)["__builtins__"] = filters.spared(module.__name__, names)
        loader.exec_module(module)

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        """``__import__`` of the kernel's modules."""
        if level == 0 and name.partition(".")[0] in self._natives:
            return self._native(name, fromlist)
        return self._import_for_others(name, globals, locals, fromlist, level)

    def _import_for_others(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        """``__import__`` of modules of the standard library that we load."""
        top = name.partition(".")[0]
        if level == 0:
            if (module := self._loaded(name, top, fromlist)) is not None:
                return module
            if top not in self._shadowed and _is_loaded(name, fromlist):
                return originals["__import__"](name, globals, locals, fromlist)
        with _uninterrupted(), self.active(), module_locks(bool(self._natives)):
            if level or top not in self._taken:
                return originals["__import__"](name, globals, locals, fromlist, level)
            module = importlib.import_module(f"{_ALIAS}.{name}")
            if not fromlist:
                return sys.modules[f"{_ALIAS}.{top}"]
            for item in fromlist:
                if item != "*" and not hasattr(module, item):
                    try:
                        importlib.import_module(f"{_ALIAS}.{name}.{item}")
                    except ModuleNotFoundError:
                        pass  # the statement will say so
            return module


class _Asyncio(types.ModuleType):
    """``asyncio``, for who asks what class ``Lock`` is, which a profiler may have replaced.

    It is not for us to have it a second time: a cell awaits what the program's made.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "Lock":
            kinds: Any = vars(asyncio)["mixins"]._LoopBoundMixin.__subclasses__()
            return next(kind for kind in kinds if kind.__name__ == name)
        return getattr(asyncio, name)


def _is_kernels(name: str) -> bool:
    """Tell whether a module is of the packages that only the kernel needs."""
    top = name.removeprefix(f"{_ALIAS}.").partition(".")[0]
    return top in _PACKAGES or top == "rtconsole"


def _uninterrupted() -> AbstractContextManager[None]:
    """Hold interrupts off a cell that calls what imports: the lock would stay taken, for all."""
    hold_off = getattr(sys.modules.get(f"{__package__}.cell"), "uninterrupted", nullcontext)
    held_off: AbstractContextManager[None] = hold_off()
    return held_off


def _is_loaded(name: str, fromlist: Any) -> bool:
    """Tell whether an import has nothing to load."""
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return False
    return all(item == "*" or hasattr(module, item) for item in fromlist or ())


def _are_put_off() -> bool:
    """Tell whether all imports are, as with ``python -X lazy_imports=all``."""
    return sys.version_info >= (3, 15) and sys.get_lazy_imports() == "all"


def own_imports(natives: Mapping[str, types.ModuleType]) -> AbstractContextManager[None]:
    """Return a context manager: import the kernel's modules in it; see the top of this module.

    Args:
        natives: our instances of modules of the standard library; empty if none are needed.

    Raises:
        ImportError: the program has imported a module of a name that we cannot do without.
    """
    if _are_put_off():  # what our finders use is not to be looked for by these
        for module in (deferred, filters, finders):
            for name in list(vars(module)):
                getattr(module, name)
    trusted = trusted_path()
    shadowed = shadowed_names(trusted)
    if natives and not isinstance(asyncio.Lock, type):
        natives = {**natives, "asyncio": _Asyncio("asyncio")}
    if not shadowed and not natives and not _are_put_off():
        return deferred.imports()
    names = _ANYBODYS if shadowed & {"dateutil", "six"} else _ANYBODYS | _DATEUTIL
    return _own_imports(OwnImports(trusted, shadowed, natives), names)


@contextmanager
def _own_imports(own: OwnImports, put_off: frozenset[str]) -> Iterator[None]:
    with deferred.imports(put_off), own.active():
        yield
