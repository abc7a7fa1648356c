"""The shell of a console: what names mean in its cells, and how their code is run."""

import asyncio
import builtins
import sys
from types import CodeType, ModuleType
from typing import Any

from IPython.core.display_functions import display
from traitlets import Instance, Type

from . import cell, entering, unseen
from .harmless import HarmlessShell
from .interrupt import Interrupts
from .loops import note_running
from .magics import ConsoleMagics, OutputMagics
from .namespace import Namespace
from .nested import NestedNames
from .results import DisplayHook, Payloads, PerThread


class Shell(HarmlessShell):
    """The shell of a console. Made directly, never with ``instance()``: see ``cell``."""

    displayhook_class = Type(DisplayHook)
    input_transformer_manager = Instance(unseen.Transformer, ())
    _last_traceback = PerThread(lambda: None)
    _last_traceback_during_displayhook = PerThread(lambda: False)

    def __init__(self, namespace: Namespace, interrupts: Interrupts, **traits: Any) -> None:
        self.namespace = namespace
        self.interrupts = interrupts
        super().__init__(**traits)
        self.ast_transformers.append(NestedNames(namespace))
        self.register_magics(ConsoleMagics, OutputMagics)

    def init_payload(self) -> None:
        self.payload_manager = Payloads(parent=self)
        self.configurables.append(self.payload_manager)

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

    # -- running -------------------------------------------------------------------

    async def run_cell_async(self, *arguments: Any, **options: Any) -> Any:
        """As the original, with no error of an earlier cell.

        ipykernel forgets it, unless this one awaits, or that was interrupted amid its result.
        """
        self._last_traceback, self._last_traceback_during_displayhook = None, False
        self.displayhook.msg = None
        return await super().run_cell_async(*arguments, **options)

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        """As the original; the reply tells why a result could not be shown, not ``NoneType``."""
        super()._showtraceback(etype, evalue, stb)
        if self.displayhook.msg is not None and (result := self.displayhook.exec_result):
            result.error_in_exec = evalue

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


# What the interpreter adds to the globals of code it runs (exec, a warning), and the
# program's dict is to have only what the user assigned.
_LEFT_BEHIND = frozenset(["__builtins__", "__warningregistry__"])
