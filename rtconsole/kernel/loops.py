"""Event loops of the console's threads: asyncio's, and nothing else of the program's.

asyncio itself is shared with the program, since a cell awaits what the program's asyncio made.
But what a loop waits by is in modules that a program may have patched (:mod:`rtconsole.native`),
or that it has put a clock of its own in.
"""

import _socket
import asyncio
import inspect
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from io import FileIO
from itertools import count
from typing import Any, cast

from tornado.ioloop import IOLoop

from rtconsole import debuglog, descriptors
from rtconsole.descriptors import DEVICE, INODE
from rtconsole.native import is_patched, sleep

from .clock import monotonic
from .quiet import look, makes_quiet, step

# Seconds, some days.
_LONG = 1_000_000.0

_numbers = count(1)  # of tasks


class Loop(asyncio.SelectorEventLoop):
    """A loop made directly, never by the program's policy (uvloop, say)."""

    _ssock: socket.socket
    _csock: socket.socket
    _internal_fds: int
    _ready: "deque[asyncio.Handle]"

    def __init__(self, log: logging.Logger | None = None) -> None:
        """
        Args:
            log: is told what goes wrong, and not the program's ``asyncio`` logger.
        """
        super().__init__(selectors.DefaultSelector())
        self._identity = self._found()
        self.set_debug(False)  # PYTHONASYNCIODEBUG and -X dev mean the program's
        if log is not None:
            keep_errors(self, log)

    def run_forever(self) -> None:
        """As the original, and found by whatever functions the program has for that.

        A program may put asyncio's functions in Python in the place of those in C while this
        loop runs: its callbacks would find no loop any more, and no cell would be answered.

        Raises:
            RuntimeError: it runs already: a cell asked for it. Python 3.13 and later would undo
                what the running one needs before they raise that.
        """
        own: Any = self
        own._check_running()
        self._ready.appendleft(asyncio.Handle(note_running, (self,), self))
        try:
            super().run_forever()
        finally:
            note_running(None)

    def is_whole(self) -> bool:
        """Tell whether our descriptors are there: the program may have closed all that it found."""
        try:
            return self._found() == self._identity
        except OSError:
            return False

    def _found(self) -> "tuple[int, ...]":
        """Return device and inode of what has the number of our socket now."""
        return (
            descriptors.identity(self._ssock.fileno())
            if debuglog.system.__name__ == "posix"
            else ()
        )

    def _process_events(self, event_list: "list[Any]") -> None:
        """As the original, unless the program has closed all descriptors: then nothing, for ever.

        What is to be done would end the process: libzmq aborts where its own are gone. Few come
        here then: who wakes a loop needs them as well, unless it is a timer.
        """
        if not self.is_whole():
            debuglog.note("the program has closed our descriptors: no console any more")
            while True:
                sleep(_LONG)
        own: Any = super()
        own._process_events(event_list)

    @makes_quiet
    def waker(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Return what calls ``callback`` in this loop, from any thread, again and again.

        As ``call_soon_threadsafe``; but a signal's handler of the program's that raises does not
        come between its steps, and leave the loop asleep for good. No loop is woken once closed.
        """
        handle = asyncio.Handle(callback, (), self)
        enter, tell = step(self._ready.append), self._tell

        def wake() -> None:
            enter[handle]
            tell()

        return wake

    @makes_quiet
    def _teller(self) -> Callable[[], None]:
        """Return what ends this loop's wait, from any thread.

        Not by ``send``: a program may have forbidden itself what a network takes (seccomp(2)). What
        does write is given no number that is the program's by now.
        """
        fd = self._csock.fileno()
        # os.fstat lets go of the interpreter's lock: a signal's handler could be called there
        asks, told = descriptors.asking(fd)
        ask = look(asks)
        ours = -ask, told[INODE], told[DEVICE]
        put = step(FileIO(fd, "wb", closefd=False).write if told else self._csock.send)

        def tell() -> None:
            try:
                if (-ask, told[INODE], told[DEVICE]) == ours:  # else it is the program's by now
                    put[b"\0"]
            except OSError:  # there is nobody to be woken; or so many bytes that it is awake
                pass

        return tell

    def _write_to_self(self) -> None:
        """As the original, but see :meth:`_teller`."""
        self._tell()

    def time(self) -> float:
        return monotonic()

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """As the original; but asyncio numbers the program's tasks, not those of its loops alone.

        Such a number is in the name of each that has no other: what a program logs of its tasks.
        """
        if self.get_task_factory() is None and options.get("name") is None:
            options["name"] = f"console-{next(_numbers)}"
        return super().create_task(coro, **options)

    def close(self) -> None:
        """As the original, and what is left of its tasks ends, while there is a loop.

        Else it would do so once it is collected: one that has not begun warns on the program's
        stderr, and so does one that finds no loop, or sockets that were closed.
        """
        if not self.is_closed():
            note_running(self)
            ended = set[Any]()
            # a cell that awaits on gives its turn to the next request, whose task begins then
            while tasks := asyncio.all_tasks(self) - ended:
                task = tasks.pop()
                ended.add(task)
                run, left = task.get_coro(), cast("Any", task)
                left._log_destroy_pending = False
                try:
                    if inspect.iscoroutine(run):
                        run.close()
                except BaseException as error:  # protects the program: a cell's may raise anything
                    debuglog.note("a task that was left", error)
            note_running(None)
        super().close()

    def __del__(self, *_: object) -> None:
        """Not the original, which tells the program's stderr of a loop that could not be made."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """As the original, which in a patched program would wait for ever.

        The default executor's threads would be greenlets of this thread, which waits in its
        loop and never lets them run: so it is a thread of ours.
        """
        if executor is not None or not is_patched():
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()

        def end(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            if not future.done():  # cancelled
                set_outcome(outcome)

        def run() -> None:
            try:
                outcome, set_outcome = func(*args), future.set_result
            except BaseException as error:
                outcome, set_outcome = error, future.set_exception
            try:
                self.call_soon_threadsafe(end, set_outcome, outcome)
            except RuntimeError:  # the loop is closed
                pass

        threading.Thread(target=run, daemon=True).start()
        return future

    def _make_self_pipe(self) -> None:
        """As the original (asyncio/selector_events.py), with sockets of ours.

        Of the kind that C knows: ``socket.socket`` is replaced by who forbids sockets, in tests.
        """
        pair: Any = getattr(_socket, "socketpair", socket.socketpair)  # Windows has the latter
        self._ssock, self._csock = pair()
        self._ssock.setblocking(False)
        self._csock.setblocking(False)
        self._tell = self._teller()
        self._internal_fds += 1
        own: Any = self
        own._add_reader(self._ssock.fileno(), own._read_from_self)


def note_running(loop: asyncio.AbstractEventLoop | None) -> None:
    """Have the functions that name this thread's running loop name ``loop``.

    There are two sorts of them, in C and in Python (asyncio/events.py), and each has a note of
    its own.
    """
    for name in ("_c__set_running_loop", "_py__set_running_loop"):
        if set_running_loop := getattr(asyncio.events, name, None):
            set_running_loop(loop)


def keep_errors(loop: asyncio.AbstractEventLoop, log: logging.Logger) -> None:
    """Tell ``log`` what goes wrong in a loop."""
    loop.set_exception_handler(
        lambda _, context: log.error(
            "%s", context.get("message"), exc_info=context.get("exception")
        )
    )


def new_loop(log: logging.Logger) -> IOLoop:
    """Return a loop for a thread of ours, as ipykernel takes it."""
    return IOLoop(make_current=False, asyncio_loop=Loop(log))
