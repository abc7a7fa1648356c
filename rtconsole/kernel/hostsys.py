"""A ``sys`` for ipykernel and IPython, which take the process's streams and hooks for theirs.

They flush ``sys.stdout`` after each message, look there for ``set_parent``, set
``sys.excepthook`` while a cell runs, ``sys.ps1`` and ``sys.last_value``. In the modules
named here the name ``sys`` leads to this stand-in: in the console's threads it keeps such
attributes to itself; in all others, the program may run IPython too, it is ``sys``.
"""

import importlib
import sys
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any

import tornado.ioloop as loops
from comm import base_comm
from zmq.eventloop import zmqstream

MODULES = (
    "ipykernel.kernelbase",
    "ipykernel.zmqshell",
    "ipykernel.displayhook",
    "IPython.core.display_trap",
    "IPython.core.displayhook",
    "IPython.core.interactiveshell",
    "IPython.core.ultratb",
)

# Where a message that makes no sense, or a comm that nobody has, is told to the program's
# loggers, and so to its stderr. (Of these names the program may have modules of its own.)
_LOGGERS: tuple[tuple[types.ModuleType, str], ...] = (
    (base_comm, "logger"),
    (zmqstream, "gen_log"),
    (loops, "app_log"),
)

_HOOKS = ("displayhook", "excepthook", "ps1", "ps2", "ps3")
_LAST = ("last_exc", "last_type", "last_value", "last_traceback")
_KEPT = frozenset(("stdout", "stderr", *_HOOKS, *_LAST))


class HostSys(types.ModuleType):
    """``sys``, but for a few attributes in a few threads."""

    def __init__(self) -> None:
        super().__init__("sys")
        object.__setattr__(self, "_threads", set())
        object.__setattr__(self, "_own", {})

    def __getattribute__(self, name: str) -> Any:
        if name in _KEPT:
            own = object.__getattribute__(self, "_own")
            if name in own and threading.get_ident() in object.__getattribute__(self, "_threads"):
                return own[name]
        return getattr(sys, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _KEPT and threading.get_ident() in object.__getattribute__(self, "_threads"):
            object.__getattribute__(self, "_own")[name] = value
        else:
            setattr(sys, name, value)


_LOOP_MAKERS = ("ipykernel.thread", "ipykernel.iostream")
_make_original: Any = None


def own_loops(threads: set[int], make: Callable[[], Any]) -> None:
    """Have ipykernel's threads that are ours run loops of our own making.

    The original asks the program's event loop policy (uvloop's, say) for one, and makes a
    policy if there is none.

    Args:
        threads: as for :func:`install`; who makes a thread for the console is one of them.
        make: returns a tornado loop.
    """
    global _make_original
    if _make_original is None:
        _make_original = importlib.import_module("ipykernel.thread").make_selector_io_loop
    original = _make_original

    def make_selector_io_loop() -> Any:
        return make() if threading.get_ident() in threads else original()

    for name in _LOOP_MAKERS:
        vars(importlib.import_module(name))["make_selector_io_loop"] = make_selector_io_loop


class HostLogger:
    """A library's logger, in whose place the console's threads have their own."""

    def __init__(self, original: Any, own: Any, threads: set[int]) -> None:
        self._original, self._own, self._threads = original, own, threads

    def __getattr__(self, name: str) -> Any:
        is_ours = threading.get_ident() in self._threads
        return getattr(self._own if is_ours else self._original, name)


def install(threads: set[int], log: Any, **own: Any) -> HostSys:
    """Give the modules in ``MODULES`` their ``sys``, and return it.

    Args:
        threads: identifiers of the console's threads; may grow later.
        log: the console's logger, for what libraries would tell the program's.
        own: attributes that these threads find in it, ``stdout`` and ``stderr`` above all.
    """
    for module, attribute in _LOGGERS:
        names = vars(module)
        logger = names[attribute]  # in a forked child, perhaps the parent's stand-in
        original = logger._original if isinstance(logger, HostLogger) else logger
        names[attribute] = HostLogger(original, log, threads)
    view = HostSys()
    object.__setattr__(view, "_threads", threads)
    object.__getattribute__(view, "_own").update(own)
    for name in MODULES:
        vars(importlib.import_module(name))["sys"] = view
    return view


class _Current:
    """``sys.stdout``, whichever that is when it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def keep_no_stream() -> None:
    """Have IPython keep none of the program's streams, where we are the first to import it.

    What a stream holds back is written out as it goes: when the program lets go of it, or when
    the interpreter does, and destructors have printed. One that is kept holds it back for good.
    """
    from IPython.utils import PyColorize, process

    function: Any = PyColorize.Parser.__init__
    if function.__defaults__ == (getattr(sys, "stdout", None),):
        function.__defaults__ = (_Current(),)
    if (handler := getattr(process.system, "__self__", None)) is not None:
        handler.logfile = _Current()


def forget_streams(kernel: Any, threads: Iterable[Any]) -> None:
    """Likewise with a kernel, which does not use them, and with threads of ours, which start.

    ``threading`` keeps stderr, for an error when ``sys.stderr`` is no more.
    """
    for owner in (kernel, *threads):
        for name in {"_stdout", "_stderr"} & vars(owner).keys():
            setattr(owner, name, None)


def forget_errors(view: HostSys) -> None:
    """Drop ``sys.last_value`` and its like, with the frames that they hold."""
    for name in _LAST:
        object.__getattribute__(view, "_own").pop(name, None)


def remove() -> None:
    """Give the modules the real ``sys``, their own loops and loggers back."""
    for module, attribute in _LOGGERS:
        names = vars(module)
        if isinstance(logger := names[attribute], HostLogger):
            names[attribute] = logger._original
    for name in MODULES:
        vars(importlib.import_module(name))["sys"] = sys
    if _make_original is not None:
        for name in _LOOP_MAKERS:
            vars(importlib.import_module(name))["make_selector_io_loop"] = _make_original
