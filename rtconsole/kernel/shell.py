"""IPython's shell made harmless to its host.

IPython takes the process for its own: it sets ``sys.ps1`` and ``sys.excepthook``, adds
builtins, changes the environment, writes into the home folder and into ``__main__``.
Every such step is overridden here, each with what it would have done to the program.
"""

import asyncio
import atexit
import builtins
import contextvars
import sys
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import CodeType, ModuleType
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.display_functions import display
from IPython.core.error import UsageError
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Bool, Instance, Type

from rtconsole.native import is_patched

from . import cell, complaints, deferred, entering, hidden, unseen
from .history import SessionHistory
from .interrupt import Interrupts
from .loops import note_running
from .magics import ConsoleMagics, OutputMagics
from .namespace import Namespace
from .nested import NestedNames
from .results import DisplayHook, Payloads, PerThread


class NoBuiltins(BuiltinTrap):
    """Adds no builtins: it would add ``get_ipython`` and take ``exit`` from the program."""

    def activate(self) -> None:
        pass


class _Memory(dict[str, Any]):
    """What IPython remembers for a session: as its files, of which one may be deleted twice."""

    def __delitem__(self, key: str) -> None:
        self.pop(key, None)


class Shell(ZMQInteractiveShell):
    """The shell of a console. Made directly, never with ``instance()``: see ``cell``."""

    displayhook_class = Type(DisplayHook)
    input_transformer_manager = Instance(unseen.Transformer, ())
    # Only ipykernel's application reads it: `exit` in a client leaves and stops nothing.
    keepkernel_on_exit = Bool(True)
    _last_traceback = PerThread(lambda: None)
    _last_traceback_during_displayhook = PerThread(lambda: False)

    def __init__(self, namespace: Namespace, interrupts: Interrupts, **traits: Any) -> None:
        self.namespace = namespace
        self.interrupts = interrupts
        # Not ZMQInteractiveShell.__init__: it adds to the process's warning filters.
        self._parent_header: contextvars.ContextVar[Any] = contextvars.ContextVar("parent_header")
        self._parent_header.set({})
        self._parent_header_global: dict[str, Any] = {}
        InteractiveShell.__init__(self, **traits)
        atexit.unregister(self.atexit_operations)  # it would clear the program's globals
        # Libraries tell a kernel from a terminal by this key.
        if "IPKernelApp" not in self.config:
            self.config.IPKernelApp.rtconsole = "a console in somebody else's process"
        self.ast_transformers.append(NestedNames(namespace))
        self.register_magics(ConsoleMagics, OutputMagics)

    # -- names ---------------------------------------------------------------------

    @property
    def user_module(self) -> ModuleType:
        return self.namespace.scope.module

    @user_module.setter
    def user_module(self, module: ModuleType) -> None:
        pass  # the scope decides, and may change its mind

    @property
    def user_global_ns(self) -> dict[str, Any]:
        return self.namespace.scope.globals

    def init_create_namespaces(self, user_module: Any = None, user_ns: Any = None) -> None:
        """Use the program's names; the original adds ``__builtin__`` to them."""
        self.default_user_namespaces = False
        self.user_ns = self.namespace
        self.user_ns_hidden = self.namespace.hidden
        self._main_mod_cache: dict[str, ModuleType] = {}

    @property
    def ns_table(self) -> dict[str, Any]:
        return {
            "user_global": self.user_global_ns,
            "user_local": self.user_ns,
            "builtin": vars(builtins),
        }

    @property
    def all_ns_refs(self) -> list[Any]:
        return [self.user_ns, *(vars(module) for module in self._main_mod_cache.values())]

    def init_user_ns(self) -> None:
        """Put IPython's names beside the program's, not among them."""
        history = self.history_manager
        self.namespace.hidden.update(
            _ih=history.input_hist_parsed,
            _oh=history.output_hist,
            _dh=history.dir_hist,
            In=history.input_hist_parsed,
            Out=history.output_hist,
            get_ipython=self.get_ipython,
            exit=self.exiter,
            quit=self.exiter,
            display=display,
        )

    def push(self, variables: Any, interactive: bool = True) -> None:
        """Set names; those IPython pushes for itself stay with the console."""
        if not interactive and isinstance(variables, dict):
            self.namespace.hidden.update(variables)
        else:
            super().push(variables, interactive)

    def reset(self, new_session: bool = True, aggressive: bool = False) -> None:
        """Forget the console's own state. The original empties ``__main__``: see ``%reset``."""
        self.history_manager.reset(new_session)
        if new_session:
            self.execution_count = 1
        self.last_execution_succeeded = True
        self.last_execution_result = None
        self.displayhook.flush()
        self.namespace.clear()
        self.init_user_ns()
        self.displayhook.flush()
        self.clear_main_mod_cache()

    def set_completer_frame(self, frame: Any = None) -> None:
        """Complete the scope's names, as always: the original keeps a frame's."""

    _db: Any = None

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

    def init_payload(self) -> None:
        self.payload_manager = Payloads(parent=self)
        self.configurables.append(self.payload_manager)

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

    # -- running -------------------------------------------------------------------

    async def run_cell_async(self, *arguments: Any, **options: Any) -> Any:
        """As the original, with no error of an earlier cell.

        ipykernel forgets it, unless this one awaits, or that was interrupted amid its result.
        """
        self._last_traceback, self._last_traceback_during_displayhook = None, False
        self.displayhook.msg = None
        return await super().run_cell_async(*arguments, **options)

    @entering.begins
    async def run_code(
        self, code_obj: CodeType, result: Any = None, *, async_: bool = False
    ) -> bool:
        """Run compiled code so that it, and nothing around it, can be interrupted.

        Not the original: that sets ``sys.excepthook`` meanwhile, so that an exception in
        one of the program's threads would be shown in the console instead.

        Returns:
            Whether the code failed.
        """
        __tracebackhide__ = "__ipython_bottom__"  # the debugger hides what is above
        names = self.user_global_ns
        before = _LEFT_BEHIND & names.keys()
        error: BaseException | None = None
        loop = asyncio._get_running_loop()  # none, if a cell's thread runs code by the shell
        running = self.interrupts.code(asyncio.current_task() if async_ else None)
        try:
            try:
                running.begin()
                self.interrupts.check()
                if async_:
                    await eval(code_obj, names, self.user_ns)
                else:
                    exec(code_obj, names, self.user_ns)
            except asyncio.CancelledError:
                self.interrupts.check_cancelled(running)
                raise
            finally:
                running.end()
            return False
        except SystemExit as exit:
            error = exit
            self.showtraceback(exception_only=True)
            print("The program goes on. To leave the console: exit or quit.", file=sys.stderr)
        except self.custom_exceptions as custom:
            error = custom
            self.CustomTB(*sys.exc_info())
        except BaseException as raised:  # whatever it is, it is the cell's
            error = raised
            if raised.__traceback__ is not None and raised.__traceback__.tb_next is not None:
                raised.__traceback__ = raised.__traceback__.tb_next  # without this frame
            if type(raised).__name__ != "BdbQuit":  # leaving the debugger is no failure to show
                self.showtraceback(running_compiled_code=True, tb_offset=0)
        finally:
            # On Python 3.13 and later any other loop's run_forever(), which fails beside this
            # loop, leaves this thread without a running one.
            note_running(loop)
            self._clear_up(names, before)
        if result is not None:
            result.error_in_exec = error
        return True

    def _clear_up(self, names: dict[str, Any], before: frozenset[str]) -> None:
        """Remove what the interpreter has added to the globals, unless it is the program's."""
        request = cell.running()
        if unseen.forget(names, set() if request is None else request.warned):
            before = before | {"__warningregistry__"}
        for name in _LEFT_BEHIND - before:
            names.pop(name, None)


def _shells_sys() -> Any:
    """Return what goes by the name ``sys`` in IPython's shell: see ``hostsys``."""
    return vars(sys.modules[InteractiveShell.__module__])["sys"]


# What the interpreter adds to the globals of code it runs (exec, a warning), and the
# program's dict is to have only what the user assigned.
_LEFT_BEHIND = frozenset(["__builtins__", "__warningregistry__"])
