"""Interrupting a cell: KeyboardInterrupt in that cell and nowhere else, without a signal.

ipykernel sends SIGINT to the process or its whole group, which is the program's. Here the
exception is set in the cell's thread (``PyThreadState_SetAsyncExc``), which the
interpreter raises between two bytecodes; a coroutine is cancelled in its event loop.
What blocks in C (a lock, a socket) is interrupted when it returns.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Running:
    """A cell in one of the shell's threads."""

    __slots__ = ("interrupted", "loop", "task", "thrown")

    def __init__(self, task: "asyncio.Task[Any] | None") -> None:
        self.task = task
        self.loop = task.get_loop() if task is not None else None
        self.interrupted = False
        self.thrown = False


class Interrupts:
    """Knows which threads run a cell's code right now, and stops it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}

    @contextmanager
    def interruptible(self, task: "asyncio.Task[Any] | None" = None) -> Iterator[None]:
        """Let the with block, which runs a cell's code, be interrupted.

        Args:
            task: the task of an asynchronous cell, which is cancelled instead, since its
                thread may be in the event loop.
        """
        thread = threading.get_ident()
        running = _Running(task)
        with self._lock:
            outer = self._running.get(thread)  # a cell that runs a cell, by %run or run_cell
            self._running[thread] = running
        try:
            yield
        except asyncio.CancelledError:
            if not running.interrupted or task is None:
                raise
            task.uncancel()
            raise KeyboardInterrupt from None
        finally:
            with self._lock:
                if outer is None:
                    self._running.pop(thread, None)
                else:
                    self._running[thread] = outer
                if running.thrown:
                    _set_exception(thread, None)  # too late to be raised in the cell

    def is_busy(self) -> bool:
        with self._lock:
            return bool(self._running)

    async def interrupt(self, patience: float = 0.25) -> None:
        """Interrupt what runs now; an idle kernel ignores it.

        Args:
            patience: seconds for an event loop to cancel its cell's task, after which the
                cell is taken to be computing and gets the exception.
        """
        with self._lock:
            for thread, running in self._running.items():
                running.interrupted = True
                if running.task is not None and running.loop is not None:
                    running.loop.call_soon_threadsafe(running.task.cancel)
                else:
                    running.thrown = _set_exception(thread, KeyboardInterrupt)
            waiting = {t: r for t, r in self._running.items() if r.task is not None}
        if not waiting:
            return
        await asyncio.sleep(patience)
        with self._lock:
            for thread, running in waiting.items():
                if self._running.get(thread) is running and not running.task.cancelling():  # type: ignore[union-attr]
                    running.thrown = _set_exception(thread, KeyboardInterrupt)


def _set_exception(thread: int, exception: type[BaseException] | None) -> bool:
    """Set or clear a thread's pending exception; tell whether there was such a thread.

    https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    import ctypes  # not cheap, and most consoles never interrupt

    value = ctypes.py_object(exception) if exception is not None else None
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value))
