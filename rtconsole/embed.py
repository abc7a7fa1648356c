"""``start_console(locals())``: a console by a call in the program, in any scope."""

import importlib
import os
import sys
import types
from typing import Any

from . import listener, native

if not sys.modules.keys().isdisjoint(native.LIBRARIES):
    # imported by a program that may have replaced what the listener has imported by name
    vars(listener).update(native.early())

from . import forks, lifecycle, room  # now: they make locks, of the listener's kind


class Console:
    """The console of this process.

    Attributes:
        connection_file: the path to give to a Jupyter client (``--existing PATH``).
    """

    def __init__(self, opened: listener.Listener) -> None:
        self._listener = opened

    @property
    def connection_file(self) -> str:
        return self._listener.connection_file

    def stop(self) -> None:
        """Close the console: clients are told, files and sockets removed, threads ended."""
        if listener.current is self._listener:
            lifecycle.stop()

    def __repr__(self) -> str:
        return f"<rtconsole.Console {self.connection_file or 'stopped'}>"


_console: Console | None = None


def start_console(
    scope: dict[str, Any] | None = None, /, *, namespace: dict[str, Any] | None = None
) -> Console:
    """Open a console in this process, or return the one there is, and say where its cells run.

    Args:
        scope: ``locals()`` of the caller; the caller's scope if left out. At module level
            cells run in the module. In a function they see its variables, live, and so do
            functions typed into them; see :class:`rtconsole.kernel.namespace.FrameScope`
            for what an assignment does. The function's frame is kept until ``stop``.
        namespace: any dict, to run cells in that instead.

    Raises:
        TypeError: what was given is no dict.
        OSError: no socket or file can be made; the message says which and why.
        RuntimeError: no thread can be started, or this is a sub-interpreter, or one without the
            interpreter lock (PEP 703).
    """
    global _console
    if not _is_main_interpreter():
        raise RuntimeError("a sub-interpreter gets no console; its process's main one may have one")
    if not room.has_lock():
        raise RuntimeError(
            "Python without the interpreter lock gets no console; PYTHON_GIL=1 has it"
        )
    given = scope if namespace is None else namespace
    if given is not None and not isinstance(given, dict):
        raise TypeError(
            f"start_console() takes a dict of names, as locals() gives, not {type(given).__name__}"
        )
    from .kernel.namespace import DictScope, FrameScope, Namespace, Scope

    caller = sys._getframe(1)
    chosen: Scope | None
    if given is None and isinstance(caller.f_locals, Namespace):
        chosen = caller.f_locals.scope  # asked for in a cell: it stays where it is
    elif namespace is not None:
        chosen = DictScope(namespace)
    elif scope is not None and scope is not caller.f_globals and scope != caller.f_locals:
        chosen = DictScope(scope)  # some other dict
    elif _is_function(caller):
        chosen = FrameScope(caller)
    elif caller.f_globals is vars(sys.modules["__main__"]):
        chosen = Scope()
    else:
        chosen = DictScope(caller.f_globals)
    before = opened = listener.current = forks.of_this_process(listener.current)
    try:
        if opened is None:
            label = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
            opened = listener.start(label)
        if _console is None or _console._listener is not opened:
            _console = Console(opened)
        opened.scope = chosen
        if opened.kernel is not None:
            opened.kernel.enter(chosen)
        return _console
    except BaseException:  # a signal's handler raised, say
        if before is None:
            lifecycle.stop()
        raise


def stop_console() -> None:
    """Close this process's console, if it has one."""
    lifecycle.stop()


def _is_main_interpreter() -> bool:
    """Tell whether a thread of ours may live here: at a sub-interpreter's end it is fatal."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        interpreters = importlib.import_module(name)
    except ImportError:  # a frozen program, of what it is known to use
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


def _is_function(frame: types.FrameType) -> bool:
    """Tell whether the frame's variables are not the module's: a function or a class body."""
    return frame.f_locals is not frame.f_globals
