"""Interrupting a cell: KeyboardInterrupt in that cell and nowhere else, without a signal.

ipykernel sends SIGINT to the process or its whole group, which is the program's. Here the
exception is set in the cell's thread (``PyThreadState_SetAsyncExc``), which the
interpreter raises between two bytecodes; a coroutine is cancelled in its event loop.
What blocks in C (a lock, a socket) is interrupted when it returns.
"""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import call, setitem
from types import CodeType
from typing import Any

from rtconsole.native import frames, sleep

from . import foreign
from .entering import Watch, is_entering, runs_code, where_to_look

# Seconds that a thread may take to begin, and between two looks whether it has.
_LONGEST_BEGIN, _BEGIN_LOOK = 0.2, 0.0002

# Seconds for a thread to look for an interrupt, after which it is raised all the same.
_AGAIN = 0.25


class _Running:
    """A cell's code in one of the shell's threads, which can be interrupted from begin to end.

    The one is called within a ``try`` whose ``finally`` calls the other. No ``with``: an interrupt
    may come between its entering something and its being sure to leave it. What is not ended is
    interrupted later on, which is the kernel: a reply was cut, or lost.

    Attributes:
        begin, end: in C, which no interrupt comes amid. One that is late is raised after ``end``.
    """

    __slots__ = ("begin", "cancelled", "end", "interrupted", "loop", "task")

    def __init__(
        self,
        task: "asyncio.Task[Any] | None",
        lock: threading.Lock,
        running: "dict[int, _Running]",
    ) -> None:
        thread = threading.get_ident()
        self.task = task
        self.loop = task.get_loop() if task is not None else None
        self.interrupted = False
        self.cancelled = False
        outer = running.get(thread)  # a cell that runs a cell, by %run or run_cell
        enter, leave = partial(setitem, running, thread), partial(running.pop, thread, None)
        self.begin = _locked(lock, partial(enter, self))
        self.end = _locked(lock, leave if outer is None else partial(enter, outer))


class Interrupts:
    """Knows which threads run a cell's code right now, and stops it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}
        # threads that serve an execute_request, and whether an interrupt came for it while
        # none of its code ran: before the first statement, or between two
        self._requests: dict[int, bool] = {}
        self._watch = Watch(self._check_code)

    @property
    def is_busy(self) -> bool:
        """Whether a cell's code runs right now."""
        return bool(self._running)

    def announce(self) -> None:
        """An execute_request of this thread's is told of now: from here on an interrupt counts."""
        with self._lock:
            self._requests[threading.get_ident()] = False

    def forget(self) -> None:
        """The request has ended, or is not served after all."""
        with self._lock:
            self._requests.pop(threading.get_ident(), None)
            self._watch.end(threading.get_ident())

    @contextmanager
    def request(self) -> Iterator[None]:
        """Serve an execute_request: an interrupt that comes between its statements counts."""
        with self._lock:
            self._requests.setdefault(threading.get_ident(), False)
        try:
            yield
        finally:
            self.forget()

    def threads(self) -> list[int]:
        """Return the identifiers of the threads that serve an execute_request."""
        with self._lock:
            return list(self._requests)

    def code(self, task: "asyncio.Task[Any] | None" = None) -> _Running:
        """Return what is to be begun before this thread runs a cell's code, and ended after it.

        Args:
            task: the task of an asynchronous cell, which is cancelled instead, since its
                thread may be in the event loop.
        """
        return _Running(task, self._lock, self._running)

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Have none raised in the with block, which runs something of ours amid a cell's code.

        What takes a lock, say, or sets what is to be set back: an interrupt that comes between
        these would leave it so for ever. What waits for long is not to be in it.

        Raises:
            KeyboardInterrupt: after the block, or before: one came.
        """
        thread = threading.get_ident()
        running = self._running.get(thread)
        if running is None:
            yield
            return
        pause = _locked(self._lock, partial(self._running.pop, thread, None))
        go_on = _locked(self._lock, partial(setitem, self._running, thread, running))
        try:
            pause()  # one that was late is raised after it, and none from then on
            yield
        finally:
            go_on()
            self.check()

    def check(self) -> None:
        """Raise an interrupt that came for this thread's request while no code of it ran.

        Raises:
            KeyboardInterrupt: there was one.
        """
        thread = threading.get_ident()
        if self._requests.get(thread, False):
            self._requests[thread] = False
            raise KeyboardInterrupt

    def check_cancelled(self, running: _Running) -> None:
        """Raise the interrupt that cancelled a cell's task, if one did.

        Raises:
            KeyboardInterrupt: it did.
        """
        if running.interrupted and running.task is not None:
            running.task.uncancel()
            self._requests[threading.get_ident()] = False
            raise KeyboardInterrupt from None

    async def interrupt(self, thread: int | None, or_any: bool, patience: float = 0.25) -> None:
        """Interrupt what runs now; an idle kernel ignores it.

        Args:
            thread: whose cell is meant.
            or_any: if none runs there, those of all other threads are.
            patience: seconds for an event loop to cancel its cell's task, after which the
                cell is taken to be computing and gets the exception.

        Raises:
            NotImplementedError: it is computing, and this Python has no ctypes.
        """
        waiting = []
        with self._lock:
            meant = [one for one in self._requests if one == thread]
            for thread in meant or (list(self._requests) if or_any else []):
                running = self._running.get(thread)
                if running is not None and running.task is None:
                    if not self._throw_by_gevent(thread, running):
                        self._raise_when_safe(thread)
                    continue
                self._requests[thread] = True  # for the next statement, if this one ends first
                if running is not None and running.loop is not None:
                    running.interrupted = True
                    running.loop.call_soon_threadsafe(self._cancel, thread, running)
                    waiting.append((thread, running))
        if not waiting:
            return
        await asyncio.sleep(patience)
        with self._lock:
            for thread, running in waiting:
                is_late = self._running.get(thread) is running and not running.cancelled
                # not in an event loop that has had no turn yet: it would end, and the kernel
                if is_late and runs_code(frames().get(thread)):
                    self._raise_when_safe(thread)

    def _raise_when_safe(self, thread: int) -> None:
        """Have a thread that runs a cell's code raise KeyboardInterrupt."""
        if foreign.ctypes is None:
            raise NotImplementedError("in a Python without ctypes only what awaits is interrupted")
        code = where_to_look(frames().get(thread))
        if code is None:
            _raise_in(thread)
            return
        self._requests[thread] = True
        self._watch.begin(thread, code)
        asyncio.get_running_loop().call_later(_AGAIN, self._raise_anyway, thread, code)

    def _raise_anyway(self, thread: int, code: CodeType) -> None:
        """Have it raised, if it was not: none is looked for in a debugger, amid a step of that.

        Or the function was left without another instruction. But not while it enters a ``with``.
        """
        with self._lock:
            if not self._watch.is_on(thread, code) or thread not in self._running:
                return
            frame = frames().get(thread)
            if frame is not None and is_entering(frame):
                asyncio.get_running_loop().call_later(_AGAIN, self._raise_anyway, thread, code)
                return
            self._watch.end(thread)
            self._requests[thread] = False
            _raise_in(thread)

    def _check_code(self) -> None:
        """Raise an interrupt that was put off, in a thread that runs a cell's code."""
        if threading.get_ident() in self._running:
            self.check()

    def _throw_by_gevent(self, thread: int, running: _Running) -> bool:
        """Interrupt a cell that waits for greenlets; tell whether it does.

        Its thread is in the loop of its hub, in C, until something happens there.
        """
        frame = frames().get(thread)
        if frame is None or frame.f_globals.get("__name__") != "gevent.hub":
            return False
        hub: Any = frame.f_locals.get("self")

        def throw() -> None:
            if self._running.get(thread) is running:
                hub.parent.throw(KeyboardInterrupt)  # the greenlet that runs the cell

        try:
            hub.loop.run_callback_threadsafe(throw)
        except AttributeError:  # an old gevent, or none of its hubs
            return False
        return True

    def _cancel(self, thread: int, running: _Running) -> None:
        """Cancel an asynchronous statement, unless it ended. In its event loop."""
        if self._running.get(thread) is running and running.task is not None:
            running.cancelled = True
            running.task.cancel()


def _locked(lock: threading.Lock, step: Callable[[], Any]) -> Callable[[], Any]:
    """Return what does one thing under a lock, once, and takes no interrupt meanwhile.

    What it does must not fail. On Python 3.14 an interrupt that comes while ``with`` waits for a
    lock leaves that locked for ever.
    """
    return partial(deque, map(call, (lock.acquire, step, lock.release)), 0)


def _raise_in(thread: int) -> None:
    """Have a thread raise KeyboardInterrupt.

    https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    if sys.version_info < (3, 12):
        # Until a thread that this one starts has begun, it goes by the identifier of this one
        # there: it would be given the exception, and who started it wait for it for ever.
        threads, patience = sys.modules["threading"], _LONGEST_BEGIN
        while getattr(threads, "_limbo", None) and patience > 0:
            sleep(_BEGIN_LOOK)
            patience -= _BEGIN_LOOK
    ctypes = foreign.ctypes
    exception = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
