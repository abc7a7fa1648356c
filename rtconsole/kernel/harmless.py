"""What IPython's shell does to its process, left undone.

IPython takes the process for its own: it sets ``sys.ps1`` and ``sys.excepthook``, adds
builtins, changes the environment, writes into the home folder and into ``__main__``.
Every such step is overridden here, each with what it would have done to the program.
"""

import atexit
import contextvars
import sys
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.error import UsageError
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Bool

from rtconsole.native import is_patched

from . import complaints, deferred, hidden, sources
from .history import SessionHistory


class NoBuiltins(BuiltinTrap):
    """Adds no builtins: it would add ``get_ipython`` and take ``exit`` from the program."""

    def activate(self) -> None:
        pass


class _Memory(dict[str, Any]):
    """What IPython remembers for a session: as its files, of which one may be deleted twice."""

    def __delitem__(self, key: str) -> None:
        self.pop(key, None)


class HarmlessShell(ZMQInteractiveShell):
    """A shell that leaves the process as it is, but for what its cells do."""

    # Only ipykernel's application reads it: `exit` in a client leaves and stops nothing.
    keepkernel_on_exit = Bool(True)
    _db: Any = None

    def __init__(self, **traits: Any) -> None:
        # Not ZMQInteractiveShell.__init__: it adds to the process's warning filters.
        self._parent_header: contextvars.ContextVar[Any] = contextvars.ContextVar("parent_header")
        self._parent_header.set({})
        self._parent_header_global: dict[str, Any] = {}
        InteractiveShell.__init__(self, **traits)
        atexit.unregister(self.atexit_operations)  # it would clear the program's globals
        # Libraries tell a kernel from a terminal by this key.
        if "IPKernelApp" not in self.config:
            self.config.IPKernelApp.rtconsole = "a console in somebody else's process"

    # -- the process ---------------------------------------------------------------

    def init_environment(self) -> None:
        """Leave TERM, PAGER and the colour variables of the program's environment alone."""

    def init_sys_modules(self) -> None:
        """Leave ``sys.modules["__main__"]`` alone."""

    def save_sys_module_state(self) -> None:
        """Nothing to restore later: the original would put old streams back."""

    def restore_sys_module_state(self) -> None:
        """As nothing was saved."""

    def init_builtins(self) -> None:
        """Add no ``__IPYTHON__`` and ``display`` to builtins: libraries look for them."""
        self.builtin_trap = NoBuiltins(shell=self)

    def init_prompts(self) -> None:
        """Set no ``sys.ps1``, which tells a program that it is interactive."""

    def init_events(self) -> None:
        """Do not clear the program's ``__warningregistry__`` before each cell."""
        super().init_events()
        self.events.unregister("pre_execute", self._clear_warning_registry)

    def init_ipython_dir(self, ipython_dir: Any) -> None:
        """Make no folder in the user's home."""

    def init_profile_dir(self, profile_dir: Any) -> None:
        """Use no profile unless RTCONSOLE_PROFILE asked for one."""
        self.profile_dir = profile_dir

    def init_history(self) -> None:
        """Keep the history in memory unless a profile, which has its own, was asked for."""
        if self.profile_dir is None:
            self.history_manager = SessionHistory(shell=self, parent=self)
        else:
            self.history_manager = HistoryManager(shell=self, parent=self)
            if self.history_manager.save_thread is not None:
                hidden.adopt(self.history_manager.save_thread)
        self.configurables.append(self.history_manager)

    @property
    def db(self) -> Any:
        """What IPython remembers between sessions: with no profile, nothing."""
        if self.profile_dir is not None:
            return super().db
        if self._db is None:
            self._db = _Memory()
        return self._db

    @db.setter
    def db(self, value: Any) -> None:
        self._db = value

    def init_completer(self) -> None:
        """Complete by looking at the live objects.

        Jedi, the default where installed, parses the program's files, for seconds in a
        large program, and keeps a cache in the user's home.
        """
        super().init_completer()
        self.Completer.use_jedi = False

    @contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Do not keep outputs in the history: the original leaves ``sys.stdout.write`` replaced."""
        yield

    # -- leaving -------------------------------------------------------------------

    def ask_exit(self) -> None:
        """Tell the client to leave. The original stops the kernel's event loop as well."""
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": True})

    def _update_exit_now(self, change: Any) -> None:
        """Likewise, for what sets ``exit_now``."""

    def atexit_operations(self) -> None:
        """The process ends: remove nothing but our own temporary files."""
        for file in self.tempfiles:
            file.unlink(missing_ok=True)
        for folder in self.tempdirs:
            folder.rmdir()

    # -- what takes the process for a notebook's ---------------------------------------

    def enable_gui(self, gui: Any = None) -> None:
        """Run no toolkit's event loop in the kernel's thread; the program's is its own.

        The original looks for ipykernel's application, which is not there, and fails also where
        there is nothing to do (``%matplotlib inline``).

        Raises:
            UsageError: one is asked for.
        """
        if gui not in (None, "inline", "asyncio"):
            raise UsageError(f"a console runs no event loop of {gui}'s, but beside the program's.")

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        """As the original, which would look at the file of each module: see ``sources``."""
        super().init_traceback_handlers(custom_exceptions)
        sources.ask_frames(self.InteractiveTB, "get_records")

    def showtraceback(self, *arguments: Any, **options: Any) -> None:
        """The original imports, the first time, what adds to the process's warning filters."""
        with deferred.without_astroid(get_ident), suppress(ImportError):  # IPython says so
            import asttokens.util  # noqa: F401
            import stack_data  # noqa: F401
        super().showtraceback(*arguments, **options)

    def debugger(self, force: bool = False) -> None:
        """As the original, but to complain is not for the program's log: see ``complaints``.

        Nor is the debugger kept: it would have the program's stream, and its frames.
        """
        if (force or self.call_pdb) and not hasattr(_shells_sys(), "last_traceback"):
            raise UsageError("No traceback has been produced, nothing to debug.")
        try:
            super().debugger(force)
        finally:
            self.InteractiveTB.pdb = None

    # -- other processes -----------------------------------------------------------

    def _find_with_lazy_load(self, type_: Any, magic_name: str) -> Any:
        """As the original; what the magic complains of is the cell's."""
        magic = super()._find_with_lazy_load(type_, magic_name)
        complaints.route(magic, self.kernel.routes)
        return magic

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """As the original; ``%%bash`` and its like in a patched program would never end."""
        magic = self.find_cell_magic(magic_name)
        if is_patched() and getattr(magic, "__module__", "") == "IPython.core.magics.script":
            raise UsageError(
                f"%%{magic_name} starts processes by asyncio, and these are greenlets here;"
                " !command works."
            )
        return super().run_cell_magic(magic_name, line, cell)


def _shells_sys() -> Any:
    """Return what goes by the name ``sys`` in IPython's shell: see ``hostsys``."""
    return vars(sys.modules[InteractiveShell.__module__])["sys"]
