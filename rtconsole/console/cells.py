"""Our cells: typed ahead, running, interrupted, and left behind in a shell that hangs."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from rtconsole.conversation import Connection

# Seconds after a reply for the rest of the cell's output to arrive; iopub may have lost it.
_REST = 1.0


class Cell:
    """One cell of ours.

    Attributes:
        begun: set when the kernel has begun with it.
        ended: set when the kernel has no more to say of it.
        interrupts: how often that was asked for.
        done: resolves to the reply's content when all its output has come.
        abandoned: resolves when it is left to hang, in a shell of its own.
    """

    def __init__(self, code: str) -> None:
        loop = asyncio.get_running_loop()
        self.code = code
        self.request_id = ""
        self.subshell: str | None = None
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.interrupts = 0
        self.done: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.abandoned: asyncio.Future[None] = loop.create_future()


class Cells:
    """What was typed and what of it runs.

    Attributes:
        current: the cell that is waited for.
        subshell: the id of the kernel's subshell in use; None for the main one.
        count: number of the last cell, None until it is known.
    """

    def __init__(self, connection: Connection, changed: Callable[[], None]) -> None:
        """
        Args:
            changed: called when the current cell or shell is another one.
        """
        self._connection = connection
        self._changed = changed
        self._typed: deque[str] = deque()
        self._has_typed = asyncio.Event()
        self._sent: dict[str, Cell] = {}
        self._waits: set[asyncio.Task[None]] = set()
        self.current: Cell | None = None
        self.subshell: str | None = None
        self.count: int | None = None

    def put(self, code: str) -> None:
        self._typed.append(code)
        self._has_typed.set()

    def clear(self) -> int:
        """Forget what was typed ahead and return how many cells that were."""
        dropped = len(self._typed)
        self._typed.clear()
        return dropped

    async def next(self) -> str:
        """Wait for the next cell to be run."""
        while not self._typed:
            self._has_typed.clear()
            await self._has_typed.wait()
        return self._typed.popleft()

    def start(self, code: str) -> Cell:
        """Send a cell to the shell in use."""
        cell = Cell(code)
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": False,
        }
        cell.subshell = self.subshell
        cell.request_id, reply = self._connection.send(
            "shell", "execute_request", content, self.subshell
        )
        self._sent[cell.request_id] = cell
        task = asyncio.get_running_loop().create_task(self._follow(cell, reply))
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)
        self.current = cell
        self._changed()
        return cell

    async def _follow(self, cell: Cell, reply: "asyncio.Future[dict[str, Any]]") -> None:
        content = await reply
        try:
            await asyncio.wait_for(cell.ended.wait(), _REST)
        except TimeoutError:
            pass
        self._sent.pop(cell.request_id, None)
        if not cell.done.done():
            cell.done.set_result(content)

    def finish(self, cell: Cell) -> None:
        """The cell's end was seen."""
        if self.current is cell:
            self.current = None
        if count := cell.done.result().get("execution_count"):
            self.count = int(count)

    def on_status(self, request_id: str, state: str) -> None:
        """The kernel said that it began (``busy``) or ended (``idle``) with a request."""
        cell = self._sent.get(request_id)
        if cell is None:
            return
        if state == "busy":
            cell.begun.set()
        elif state == "idle":
            cell.ended.set()

    def interrupt(self) -> None:
        """Interrupt what runs in the shell in use. Does not wait for it to stop."""
        cell = self.current
        self._connection.send(
            "control", "interrupt_request", {}, cell.subshell if cell is not None else None
        )

    async def open_subshell(self, timeout: float) -> None:
        """Leave the current cell to hang and go on in a subshell of its own.

        Raises:
            TimeoutError: the kernel does not answer.
        """
        reply = await self._connection.request("control", "create_subshell_request", {}, timeout)
        if "subshell_id" not in reply:
            raise TimeoutError
        self.subshell = str(reply["subshell_id"])
        cell, self.current = self.current, None
        if cell is not None and not cell.abandoned.done():
            cell.abandoned.set_result(None)
        self._changed()

    def delete_subshell(self) -> None:
        """Give back the subshell in use, unless a cell of ours hangs in it."""
        if self.subshell is not None and self.current is None:
            self._connection.send(
                "control", "delete_subshell_request", {"subshell_id": self.subshell}
            )
