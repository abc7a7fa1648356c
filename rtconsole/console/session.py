"""A person at the console of one process: from attaching to leaving."""

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.output import Output

from rtconsole.client import pid_of, program_of
from rtconsole.conversation import Connection
from rtconsole.errors import Gone, RtconsoleError

from . import helpers
from .cells import Cells
from .completion import KernelCompleter, inspect
from .interrupts import Interrupts
from .lines import RESET
from .prompt import Prompt
from .questions import Questions
from .screen import CYAN, DIM, GREEN, YELLOW, Screen
from .tasks import Tasks, told
from .view import View
from .watch import Watch

# Seconds: until a person who waits for the first answer is told why.
_WAKING = 1.5

_LEAVE = frozenset(("exit", "quit", "exit()", "quit()", "%exit", "%quit"))


class Options(NamedTuple):
    """How the console behaves.

    Attributes:
        quiet: do not show the program's output.
        follow: show the cells of other clients with their output.
        vi: vi keys instead of emacs keys.
        colours: colours, for a terminal that has them.
    """

    quiet: bool = False
    follow: bool = False
    vi: bool = False
    colours: bool = True


class Session:
    """One console on one terminal. Implements what the prompt's keys do."""

    def __init__(
        self,
        info: dict[str, Any],
        pid: int,
        file: Path | None,
        options: Options,
        history: History,
        output: Output,
    ) -> None:
        """
        Args:
            info: what the connection file says.
            pid: the process on this machine; 0 if it is on another one.
            file: the connection file, where it is known.
            history: of what is typed.
            output: the terminal.
        """
        self.name = program_of(info)
        self.pid = pid or pid_of(info)
        self.screen = Screen(output, options.colours)
        self.connection = Connection(info)
        self.screen.lag = lambda: self.connection.lag
        self.cells = Cells(self.connection, self._refresh)
        self.view = View(self.screen, self.cells, self.connection.session_id, options)
        self.prompt = Prompt(
            self, self.screen, self._label, history, KernelCompleter(self), options.vi
        )
        self.watch = Watch(self.connection, pid, file, self._warn, self._end)
        self.watch.is_waiting = lambda: self.cells.current is not None
        self._tasks = Tasks(self._warn, self._fail)
        self._interrupts = Interrupts(self.cells, self.prompt, self.screen, self._tasks.spawn)
        self._last_words = ""
        self._is_left = False
        self._fault: Exception | None = None
        self.connection.on_fault = self._on_fault
        self.connection.on_iopub = self._on_iopub
        self.connection.on_stdin = Questions(
            self.connection, self.cells, self.prompt, self.screen, self._tasks.spawn
        ).on_request

    async def run(self) -> None:
        """Attach, and stay until the person leaves or the process ends.

        Raises:
            Gone: the process ended before it answered.
            RtconsoleError: something of ours failed.
        """
        self.connection.open()
        asyncio.get_running_loop().set_exception_handler(self._tasks.on_loop_error)
        self._tasks.spawn(self.watch.run(), is_vital=True)
        try:
            if await self._greet():
                self._tasks.spawn(self._run_cells(), is_vital=True)
                await self.prompt.run()
        except EOFError:  # the terminal is gone
            pass
        finally:
            await self._tasks.end()
            self.cells.delete_subshell()
            await self.connection.close()
            self.screen.finish()
        if self._fault is not None:
            raise RtconsoleError(
                f"the console failed, {self.watch.name} goes on: {told(self._fault)}"
            )
        if self._last_words:
            self.screen.note(self._last_words, YELLOW)
        else:
            self.screen.note(f"left {self.watch.name}, which goes on")
        self.screen.finish()

    async def _greet(self) -> bool:
        """Wait for the kernel and show its banner; false if the person left meanwhile."""
        _, answer = self.connection.send("control", "kernel_info_request", {})
        began = time.monotonic()
        is_told = False
        while True:
            await asyncio.wait([answer], timeout=0.1)
            if self._last_words:  # perhaps just after it answered: there is no prompt to stop yet
                raise Gone(self._last_words + ("" if answer.done() else ", before it answered"))
            if self._is_left or self._fault is not None:
                return False
            if answer.done():
                reply = answer.result()
                break
            if not is_told and time.monotonic() - began > _WAKING:
                is_told = True
                self.screen.note(f"waiting for {self.watch.name} to answer; Ctrl-C gives up")
        self.watch.is_greeted = True
        self.screen.show(str(reply.get("banner", "")).rstrip("\n"))
        self.screen.note("F4 or Ctrl-O: the program's output off and on. Ctrl-D leaves.")
        return True

    # -- what the prompt's keys do -------------------------------------------------------

    def run_cell(self, code: str) -> None:
        """Queue a cell; several may be typed ahead."""
        if code.strip() in _LEAVE:
            self.leave()
            return
        self.cells.put(code)

    def interrupt(self) -> bool:
        return self._interrupts.interrupt()

    def leave(self) -> None:
        """Leave without asking; the program goes on, and so does a cell."""
        self._is_left = True
        self.prompt.stop()

    def on_quit(self) -> None:
        """Ctrl-\\ while it is no key: no prompt yet, or a pager or an editor that may heed it."""
        if not self.prompt.is_away:
            self.leave()

    def toggle_output(self) -> None:
        state = "shown" if self.view.toggle_quiet() else "not shown"
        self.screen.note(f"(the program's output is {state})")

    def inspect(self, document: Document) -> None:
        self._tasks.spawn(self._inspect(document))

    async def _inspect(self, document: Document) -> None:
        if not self.can_ask():
            return
        try:
            text = await inspect(self, document)
        except TimeoutError:
            return
        if text:
            await helpers.page(self.screen, text)

    # -- other shells --------------------------------------------------------------------

    @property
    def subshell(self) -> str | None:
        return self.cells.subshell

    def can_ask(self) -> bool:
        return self.cells.current is None

    # -- what comes from the kernel ------------------------------------------------------

    def _on_iopub(self, message: dict[str, Any]) -> None:
        if message["msg_type"] == "shutdown_reply":
            self.watch.on_goodbye()
        else:
            self.view.show(message)

    async def _run_cells(self) -> None:
        """Run what is typed, one cell after the other."""
        while True:
            code = await self.cells.next()
            self.view.echo(self._label(self.screen.columns, busy=False), code)
            cell = self.cells.start(code)
            ends: list[asyncio.Future[Any]] = [cell.done, cell.abandoned]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if cell.done.done() and not cell.done.cancelled():
                self.cells.finish(cell)
                self.view.end_lines()
                self.screen.hurry(False)
                for payload in cell.done.result().get("payload", []):
                    try:
                        await helpers.obey(payload, self.prompt, self.screen)
                    except Exception as error:  # protects the next cells: it may be anything
                        self._warn(f"(what the cell asks for cannot be done: {told(error)})")
            self._refresh()

    # -- appearance, and the end ---------------------------------------------------------

    def _label(self, columns: int, busy: bool | None = None) -> str:
        """Return what stands before the typed text: whose program this is."""
        busy = self.cells.current is not None if busy is None else busy
        number = f"[{self.cells.count + 1}]" if self.cells.count is not None else ""
        return label(self.name, self.pid, number, columns, busy, bool(self.cells.subshell))

    def _refresh(self) -> None:
        if self.prompt.is_running():
            self.screen.flush()

    def _warn(self, text: str) -> None:
        self.screen.note(text, YELLOW)

    def _end(self, text: str) -> None:
        self._last_words = text
        self.prompt.stop()

    def _on_fault(self, error: Exception, is_end: bool) -> None:
        if is_end:
            self._fail(error)
        else:
            self._warn(f"(a message of the program's cannot be shown: {told(error)})")

    def _fail(self, error: Exception) -> None:
        """Something of ours failed, without which the console is of no use."""
        self._fault = self._fault or error
        self.prompt.stop()


def label(name: str, pid: int, number: str, columns: int, busy: bool, is_beside: bool) -> str:
    """Return a prompt: short on a narrow terminal; with the cell's ``number`` (``[3]``) or "".

    Args:
        busy: a cell runs.
        is_beside: what is typed goes to a shell beside the main one.
    """
    if columns < 50:
        return f"{DIM}{pid}…{RESET} " if busy else f"{GREEN}{pid}>{RESET} "
    name = name if len(name) <= 24 else name[:23] + "…"
    if busy:
        return f"{DIM}{name} {pid} runs your cell:{RESET} "
    beside = " beside" if is_beside else ""
    return f"{CYAN}{name} {pid}{RESET}{beside} {GREEN}In{number}:{RESET} "
