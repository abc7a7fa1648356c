"""What is different inside a cell: its output, its input, and who "the" shell is.

A cell runs in a thread of the program's process, where ``sys.stdout``, ``input`` and
IPython's singletons belong to the program. While a cell runs, and only then, each of
these process-wide names leads to a router: for code of the cell it does what the console
needs, for everybody else exactly what the original did.

Who is asking is told by a context variable, so that what the cell awaits counts as the
cell, and threads that it starts count as the program.
"""

import builtins
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial, update_wrapper
from types import FunctionType, ModuleType
from typing import Any, Protocol

from rtconsole.recorder import hide_frame

from . import entering
from .clock import monotonic
from .spared import Spared

# Sleeping is done in pieces of this many seconds, since an interrupt is raised between
# two bytecodes only: without it `time.sleep(100)` could not be interrupted.
NAP = 0.05
# Ours may be others: rtconsole.native.
_programs_time: Any = sys.modules["time"]
_programs_os: Any = sys.modules["os"]


class Console(Protocol):
    """What a cell needs of the kernel."""

    def write_output(self, stream: str, text: str, parent: dict[str, Any]) -> None: ...
    def flush_output(self) -> None: ...
    def ask(self, prompt: str, password: bool) -> str: ...
    def uninterrupted(self) -> AbstractContextManager[None]: ...
    def display(self, value: object) -> None: ...


class Cell:
    """One request of one client.

    Attributes:
        process: pid of the client, if that is known.
        is_done: it has been served; what it left running counts as the program from then on.
        warned: of what it was, see :func:`.unseen.forget`.
    """

    __slots__ = ("console", "is_done", "parent", "process", "warned")

    def __init__(
        self, console: Console, parent: dict[str, Any], process: int | None = None
    ) -> None:
        self.console = console
        self.parent = parent
        self.process = process
        self.is_done = False
        self.warned: set[tuple[str, Any, int]] = set()

    @property
    def is_execution(self) -> bool:
        """Whether code is to be run, and not completed or looked at."""
        return self.parent.get("msg_type") == "execute_request"

    def write(self, stream: str, text: str) -> None:
        """Send ``text`` to the client as output of this cell; ``stream`` is stdout or stderr.

        Raises:
            TypeError: it is no text, as the stream's own ``write`` would say.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.console.write_output(stream, text, self.parent)


current: ContextVar[Cell | None] = ContextVar("rtconsole_cell", default=None)


def running() -> Cell | None:
    """Return the cell that the caller's code belongs to, if it does to one that runs."""
    cell = current.get()
    return None if cell is None or cell.is_done else cell


def uninterrupted() -> AbstractContextManager[None]:
    """Hold interrupts off the caller's cell in the with block, if it belongs to one.

    See :meth:`.interrupt.Interrupts.held_off`.
    """
    cell = running()
    return nullcontext() if cell is None else cell.console.uninterrupted()


class ContextSingleton:
    """A class attribute that is one object inside a cell and another one elsewhere.

    Stands in for ``SingletonConfigurable._instance``, so that ``get_ipython()`` is the
    console's shell in a cell, and in the program what it was: the program's own IPython,
    or nothing, which is how libraries find out that they are not in a notebook.
    """

    def __init__(self, inside: object, outside: object) -> None:
        self.inside = inside
        self.outside = outside

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self.outside if running() is None else self.inside


class Routes:
    """The routers, installed while at least one cell runs."""

    def __init__(
        self,
        singletons: list[tuple[type, object]],
        streams: Callable[[], AbstractContextManager[None]],
        others: list[tuple[Any, str, Callable[[Any], Any]]],
        spared: Spared,
    ) -> None:
        """
        Args:
            singletons: classes with an ``_instance``, each with what it is inside a cell.
            streams: routes what the cell writes (:meth:`.mirror.Mirror.cell`).
            others: owner, name and maker of further routers.
            spared: what a cell does not close.
        """
        self._singletons = singletons
        self._spared = spared
        self._streams = streams
        self._others = others
        self._lock = threading.Lock()
        self._running = 0
        self._undo: list[Callable[[], None]] = []

    @property
    def in_use(self) -> bool:
        """Whether a request is being served right now."""
        return self._running > 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Install the routers for the time of a with block; blocks may overlap."""
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._install()
        try:
            with self._streams():
                yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._remove()

    def add(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Install one more router, until no cell runs."""
        with uninterrupted(), self._lock:
            if self._running:
                self._replace(owner, name, make)

    def _install(self) -> None:
        self._replace(builtins, "input", _input)
        self._replace(sys, "displayhook", _displayhook)
        self._route(_programs_time, "sleep", _Sleep)
        self._route(_programs_os, "close", partial(_close, self._spared))
        self._route(_programs_os, "closerange", partial(_closerange, self._spared))
        if "getpass" in sys.modules:
            self._replace(sys.modules["getpass"], "getpass", _getpass)
        for owner, name, make in self._others:
            self._replace(owner, name, make)
        for owner, inside in self._singletons:
            self._replace(owner, "_instance", partial(ContextSingleton, inside))

    def _route(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Have a cell, and nobody else, find ``make(original)`` in a module of the program's."""
        kind: type = type(owner)
        if kind not in (ModuleType, _RoutedModule):  # the program has made it something else
            return
        original = vars(owner).get(name)
        router = make(original)
        if isinstance(router, FunctionType):
            router.__module__, router.__qualname__ = owner.__name__, name
        _routes[name] = original, router
        owner.__class__ = _RoutedModule

        def undo() -> None:
            its_class: type = type(owner)
            if its_class is _RoutedModule:
                owner.__class__ = ModuleType

        self._undo.append(undo)

    def abandon(self) -> None:
        """In a forked child: no cell runs there."""
        cell = current.get()
        if cell is not None:
            cell.is_done = True
        self._lock = threading.Lock()  # somebody who is not here may have it
        self._running = 0
        self._remove()

    def _remove(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put ``make(original)`` in place of an attribute; what the program sets later stays."""
        own = vars(owner)
        was_there, original = name in own, getattr(owner, name)
        router = make(original)
        if isinstance(router, FunctionType):  # pickle looks for it by these
            router.__module__, router.__qualname__ = owner.__name__, name
        setattr(owner, name, router)

        def undo() -> None:
            if vars(owner).get(name) is not router:
                return
            if was_there:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

        self._undo.append(undo)


def _input(original: Callable[..., str]) -> Callable[..., str]:
    def input(prompt: object = "", /) -> str:
        try:
            cell = running()
            return original(prompt) if cell is None else cell.console.ask(str(prompt), False)
        except BaseException as error:
            hide_frame(error)
            raise

    return input


def _getpass(original: Callable[..., str]) -> Callable[..., str]:
    def getpass(prompt: str = "Password: ", stream: Any = None, **options: Any) -> str:
        try:
            cell = running()
            if cell is not None:
                return cell.console.ask(prompt, True)
            return original(prompt, stream, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return getpass


def _displayhook(original: Callable[[object], Any]) -> Callable[[object], Any]:
    def displayhook(value: object, /) -> Any:
        try:
            cell = running()
            return original(value) if cell is None else cell.console.display(value)
        except BaseException as error:
            hide_frame(error)
            raise

    return displayhook


class _Sleep:
    """What a cell finds as ``time.sleep``: in the cell it naps, elsewhere it is the original.

    No function: one would be bound by a class that it is assigned in, as the original is not,
    and pickled only where ``time.sleep`` is this very object.
    """

    def __init__(self, original: Any) -> None:
        self._original = original
        update_wrapper(self, original)

    @entering.waits
    def __call__(self, seconds: float, /) -> None:
        original = self._original
        try:
            if running() is None:
                original(seconds)
                return
            end = monotonic() + seconds
            original(min(seconds, NAP))  # raises what it raises for a negative or odd value
            while (left := end - monotonic()) > 0:
                original(min(left, NAP))
        except BaseException as error:
            hide_frame(error)
            raise

    def __repr__(self) -> str:
        return repr(self._original)

    def __reduce__(self) -> tuple[Any, ...]:
        from pkgutil import resolve_name

        return resolve_name, ("time:sleep",)


_attribute_of = ModuleType.__getattribute__
# By name: the original, and what a cell finds.
_routes: dict[str, tuple[Any, Any]] = {}


class _RoutedModule(ModuleType):
    """The class of the modules ``time`` and ``os`` while a cell runs.

    To replace a function in them would be seen by the program. It is handed to other processes
    (``executor.submit(time.sleep, 1)``), and one that was taken from the module before a cell began
    or ended could not be pickled; it is compared (``func is os.close`` in ``shutil.rmtree``, which
    fails if it was another one a moment ago). No property, either: who looks at classes sees it,
    and Python 3.14 and 3.15 pass over those of a module's class where they know the module's dict.
    """

    def __getattribute__(self, name: str) -> Any:
        try:
            found = _attribute_of(self, name)
            if name in _routes and running() is not None:
                original, router = _routes[name]
                if found is original:
                    return router
            return found
        except BaseException as error:
            hide_frame(error)
            raise

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Be pickled by who pickles modules: cloudpickle and dill know them by their exact type."""
        from importlib import import_module

        return import_module, (self.__name__,)


# As it is called and shown: what goes by the name finds what it knows.
_RoutedModule.__name__ = _RoutedModule.__qualname__ = ModuleType.__qualname__
_RoutedModule.__module__ = ModuleType.__module__


def _close(spared: Spared, original: Callable[[int], None]) -> Callable[[int], None]:
    def close(fd: int) -> None:
        try:
            return original(fd) if running() is None else spared.close(original, fd)
        except BaseException as error:
            hide_frame(error)
            raise

    return close


def _closerange(spared: Spared, original: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def closerange(fd_low: int, fd_high: int, /) -> None:
        try:
            if running() is None:
                return original(fd_low, fd_high)
            return spared.closerange(original, fd_low, fd_high)
        except BaseException as error:
            hide_frame(error)
            raise

    return closerange
