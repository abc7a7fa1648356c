"""Ctrl-C: our cell and nothing else is interrupted, and one that hangs is left to hang."""

import asyncio
from collections.abc import Callable
from typing import Any

from .cells import Cell, Cells
from .prompt import Prompt
from .screen import YELLOW, Screen

# Seconds for the kernel to make a subshell.
_PATIENCE = 5.0

# For a cell to begin, after which it is taken to wait for another client's.
_BEGINNING = 1.0


class Interrupts:
    """What Ctrl-C does while a cell runs."""

    def __init__(
        self,
        cells: Cells,
        prompt: Prompt,
        screen: Screen,
        spawn: Callable[[Any], "asyncio.Task[Any]"],
    ) -> None:
        """
        Args:
            spawn: runs a coroutine as a task that ends with the session.
        """
        self.cells = cells
        self.prompt = prompt
        self.screen = screen
        self._spawn = spawn
        self._stopping: asyncio.Task[None] | None = None
        self._offer: asyncio.Task[None] | None = None

    def interrupt(self) -> bool:
        """Interrupt our cell, and nothing else; offer another shell if that does not help."""
        cell = self.cells.current
        if cell is None:
            return self._drop_typed()
        cell.interrupts += 1
        self._drop_typed()
        self.screen.hurry(True)
        if self._offer is not None and not self._offer.done():
            self._offer.cancel()  # another Ctrl-C says no
            self.cells.interrupt()
        elif self._stopping is None or self._stopping.done():
            self._stopping = self._spawn(self._stop_cell(cell))
        return True

    async def _stop_cell(self, cell: Cell) -> None:
        """Interrupt a cell; offer another shell if that was tried before."""
        try:
            await asyncio.wait_for(cell.begun.wait(), _BEGINNING)
        except TimeoutError:
            reason = "Another client's cell runs there; yours has not begun, and will after it."
        else:
            self.cells.interrupt()
            if cell.interrupts < 2:
                return
            reason = "The cell does not stop: it waits in C (a lock, a long call)."
        self._offer = self._spawn(self._offer_shell(cell, reason))

    def _drop_typed(self) -> bool:
        """Forget the cells that were typed ahead; true if there were any."""
        if dropped := self.cells.clear():
            self.screen.note(f"({dropped} typed ahead: not run)")
        return bool(dropped)

    async def _offer_shell(self, cell: Cell, reason: str) -> None:
        """Offer a shell beside the one that hangs; taken back if the cell ends or begins."""
        self.screen.note(reason, YELLOW)
        question = asyncio.create_task(self.prompt.ask("A fresh shell beside it (Y/n)? "))
        beginning = asyncio.create_task(cell.begun.wait())
        waiting: list[asyncio.Future[Any]] = [question, cell.done]
        if not cell.begun.is_set():
            waiting.append(beginning)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if beginning in waiting and beginning.done():
                self.cells.interrupt()  # as was asked for
            if not question.done() or question.result().strip().lower() not in ("", "y", "yes"):
                return
        finally:
            question.cancel()
            beginning.cancel()
        try:
            await self.cells.open_subshell(_PATIENCE)
        except TimeoutError:
            self.screen.note("The kernel does not answer; no other shell can be had.", YELLOW)
            return
        self.screen.note("A fresh shell; what the other one still says is shown, too.", YELLOW)
        cell.done.add_done_callback(lambda _: self.screen.note("(the cell that hung has ended)"))
