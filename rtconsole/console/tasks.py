"""What runs beside the prompt until the session ends; none of it fails without a word.

A task that dies silently leaves a console that takes what is typed and does nothing with it.
"""

import asyncio
from collections.abc import Callable
from typing import Any


def told(error: BaseException) -> str:
    """Return an exception as a person is told of it."""
    return f"{type(error).__name__}: {error}"


class Tasks:
    """The tasks of one session."""

    def __init__(self, warn: Callable[[str], None], fail: Callable[[Exception], None]) -> None:
        """
        Args:
            warn: told of one that failed.
            fail: told of one without which there is no session.
        """
        self._warn = warn
        self._fail = fail
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Any, is_vital: bool = False) -> asyncio.Task[Any]:
        """Run a coroutine until it ends, or the session does.

        Args:
            is_vital: without it there is no session.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(lambda _: self._on_end(task, is_vital))
        return task

    def _on_end(self, task: asyncio.Task[Any], is_vital: bool) -> None:
        self._running.discard(task)
        if task.cancelled() or not isinstance(error := task.exception(), Exception):
            return
        if is_vital:
            self._fail(error)
        else:
            self._warn(f"(that failed: {told(error)})")

    def on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A key or a callback failed: asyncio would write a traceback over the prompt."""
        error = context.get("exception")
        self._warn(f"(that failed: {told(error) if error else context['message']})")

    async def end(self) -> None:
        """End those that run."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
