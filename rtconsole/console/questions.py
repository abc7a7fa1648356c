"""What cells ask the person for: ``input()`` and ``getpass()``."""

import asyncio
from collections.abc import Callable
from typing import Any

from rtconsole.conversation import Connection

from .cells import Cells
from .prompt import Prompt
from .screen import Screen


class Questions:
    """Asks them at the prompt, and sends the answers."""

    def __init__(
        self,
        connection: Connection,
        cells: Cells,
        prompt: Prompt,
        screen: Screen,
        spawn: Callable[[Any], "asyncio.Task[Any]"],
    ) -> None:
        """
        Args:
            spawn: runs a coroutine as a task that ends with the session.
        """
        self._connection = connection
        self._cells = cells
        self._prompt = prompt
        self._screen = screen
        self._spawn = spawn
        self._asking: asyncio.Task[None] | None = None

    def on_request(self, message: dict[str, Any]) -> None:
        """An input_request came; there is one at a time."""
        content = message["content"]
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self._spawn(
            self._answer(str(content.get("prompt", "")), bool(content.get("password")))
        )

    async def _answer(self, text: str, password: bool) -> None:
        """Ask what a cell asks for; taken back if the cell ends without the answer."""
        cell = self._cells.current
        question = asyncio.create_task(self._prompt.ask(text, password))
        waiting: list[asyncio.Future[Any]] = [question, *([cell.done] if cell else [])]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if question.done():
                answer = question.result()
                self._screen.show(text + ("" if password or answer == "\x04" else answer))
                self._connection.answer_input(answer)
        finally:
            question.cancel()
