"""From text to stream messages on iopub: at once after quiet, in windows under a flood.

Writers append to a list and, if the publisher sleeps, wake it; the thread of the iopub
channel takes everything that waits and sends it. After a message it waits one window
before the next, since waking it for each print would make two threads fight for the
interpreter. When nothing is written nothing wakes.

The program's writers are its own threads, anywhere: in a signal handler, a destructor, a
callback of the garbage collector. So what they call takes no lock, and never waits. Nor does
a signal's handler that raises come between what is queued and the waking: see :mod:`.quiet`.
"""

import _thread
import asyncio
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import call
from typing import Any, Protocol

from rtconsole import native
from rtconsole.recorder import Recorder

from .loops import Loop
from .pieces import CUT, Lines, Loss, Piece, Tail, Text, dropped, split
from .quiet import quiet, step
from .silence import Silence
from .written import MANY, Written

# Seconds that the first print after quiet is given to end its line.
_HALF_A_LINE = 0.0001

# Of a window, what is waited while messages are few: up to about this many windows' worth
# may follow each other so soon. In the long run there is one message a window at most.
_SHORT, _SPARE = 0.2, 4

# Characters of the program's output that are sent in one go: what a flood adds meanwhile
# must not be more and more.
_DOSE = 2_000_000

# So many characters in one window are many lines.
_MANY_LINES = 1000

# Of these many characters the oldest are not dropped, however much waits for clients.
_LEAST = _DOSE


# Who writes is asked of the program's module: ours may be another one (rtconsole.native). By its
# attributes, since its functions are in Python; and not once for all, since the main thread's
# object keeps the program's stderr, which is to go before the kernel does.
programs_threading: Any = sys.modules["threading"]

_go_through = step(any)  # to the end: to set something returns nothing


class Queue(Protocol):
    """What hooks append to: the list of what waits, or what wakes its reader first."""

    def append(self, item: Any, /) -> None: ...


class First:
    """The queue of a publisher that sleeps."""

    def __init__(self, publisher: "Publisher") -> None:
        self._publisher = publisher

    @quiet
    def append(self, item: Any, /) -> None:
        """Queue what a bare hook has, the first after quiet."""
        self._publisher.enter(item)


class Publisher:
    """Queue and sender.

    Attributes:
        written: what the program wrote and nobody took yet.
        program: its list.
        main_thread_id: identifier of the program's main thread.
        lock: owned by the main thread and nobody else, see :meth:`claim`.
        asleep: whether :meth:`wake` is needed.
        has_newcomers: somebody is to be greeted even if nothing is written.
        bare_hooks: set what a hook that does not ask for ``asleep`` appends to.
        tails: cells that show the program's output.
    """

    def __init__(
        self,
        loop: Loop,
        send: Callable[[Text], None],
        send_earlier: Callable[[], None],
        greet: Callable[[], None],
        backlog: Callable[[], int],
        recorder: Recorder,
        main_thread_id: int,
        window: float,
        limit: int,
    ) -> None:
        """
        Args:
            loop: the event loop of the iopub thread.
            send: sends one message; called in that thread.
            send_earlier: sends the other messages that wait, which came before the text:
                text must not overtake the ``busy`` of its own cell.
            greet: called before the program's output is sent: for newcomers.
            backlog: returns how much (bytes, say characters) waits for each client at least.
            recorder: keeps what was sent.
            window: seconds between two messages of a flood.
            limit: characters of the program's output that are held back at most.
        """
        self._loop = loop
        self._wake_loop = loop.waker(self._woken)
        self._send = send
        self._send_earlier = send_earlier
        self._greet = greet
        self._backlog = backlog
        self._recorder = recorder
        self.main_thread_id = main_thread_id
        self._window = window
        self._limit = limit
        self._cells: deque[Text] = deque()
        self.written = Written(programs_threading, max(limit, _LEAST))
        self.program = self.written.items
        self.asleep = True
        self.bare_hooks: list[Callable[[Queue], None]] = []
        self._to_program = self._setting(self.program)
        self._first = First(self)
        self._timer: asyncio.TimerHandle | None = None
        self._is_last_look = self._was_idle = False
        self._paused = self._spare = 0.0
        self.has_newcomers = False
        # Nobody ever waits for this lock: it is the main thread's from its first print on,
        # since whether it owns one is the cheapest that can be asked of a thread.
        self.lock: Any = _thread.RLock()
        self.tails: list[Tail] = []
        self._silence = Silence()
        self._step = math.inf  # of the time since the last tick, what counts as silence
        self._begun: dict[str, Piece] = {}  # of each stream
        self._held: deque[Piece] = deque()
        self._held_size = 0
        self._lost = Loss()

    # -- from any thread, at any moment --------------------------------------------------

    def note(self, stream: str, what: "str | bytes") -> None:
        """Queue what the program wrote, with the thread that did."""
        ident = _thread.get_ident()
        if ident == self.main_thread_id:
            if not self.lock._is_owned():
                self.claim()
            thread = programs_threading._main_thread
        else:
            thread = programs_threading._active.get(ident)
        self.enter((stream, thread, what))
        if len(self.program) > MANY:
            self.written.join()

    @quiet
    def enter(self, item: Any) -> None:
        """Queue an item, and have it sent: both or, if a handler raises before, neither."""
        items = self.program
        items += (item,)  # no call
        if self.asleep:
            self.wake()

    def claim(self) -> None:
        """Let :attr:`lock` know the main thread, which this is."""
        self.lock.acquire(blocking=False)

    @quiet
    def wake(self) -> None:
        """Have what waits sent."""
        self.asleep = False
        _ = _go_through[self._to_program]
        self._wake_loop()

    def queue(self) -> "Queue":
        """Return what bare hooks append to just now."""
        return self._first if self.asleep else self.program

    def add_bare_hook(self, set_queue: "Callable[[Queue], None]") -> None:
        """Enter a hook, whose queue is set whenever the publisher sleeps, or does no more."""
        self.bare_hooks.append(set_queue)
        self._to_program = self._setting(self.program)
        set_queue(self.queue())

    def _setting(self, queue: "Queue") -> "Iterator[None]":
        """Return what, gone through, has set the hooks' queue: in C, so quietly."""
        return map(call, self.bare_hooks[:], repeat(queue))

    def put(self, stream: str, text: str, parent: dict[str, Any]) -> None:
        """Queue the output of a cell."""
        self._cells.append(Text(stream, text, parent, {}))
        if self.asleep:
            self.wake()

    # -- holding the program's output back ---------------------------------------------

    def hold(self, session: str, seconds: float) -> None:
        """Keep the program's output for some time: ``session``'s client waits for silence."""
        self._silence.begin(session, seconds)

    def release(self, session: str) -> None:
        """The client of ``session`` does not wait any more."""
        if self._silence.end(session) and self.asleep:
            self.wake()

    # -- in the iopub thread -------------------------------------------------------------

    def _woken(self) -> None:
        self.asleep = False
        _ = _go_through[self._setting(self.program)]  # of two that have woken us one only has it
        if self._timer is not None:
            if not self._is_last_look:  # two threads have woken us
                return
            self._timer.cancel()
        if self.program and isinstance(self.program[-1], str) and self.program[-1][-1:] != "\n":
            # print writes its pieces one by one: let it end the line (a select of the loop
            # would wait a millisecond at least)
            native.sleep(_HALF_A_LINE)
        self._step = math.inf  # while we slept there was silence
        self._tick()

    def _tick(self) -> None:
        self._timer = None
        pause, self._is_last_look = self._window, False
        if self._cells or self.program or self._held or self._begun or self.has_newcomers:
            self._send_earlier()
            self.drain()
            self.drain_program(not self._silence.lasts(self._step), _DOSE)
            pause = self._pause()
        elif self.asleep:
            return
        else:
            self._is_last_look = self._was_idle = True
            # and one more look: a writer may be in the middle of an append
            self._to_program = self._setting(self.program)
            self.asleep = True
            _ = _go_through[self._setting(self._first)]
        self._step = 2 * pause
        self._timer = self._loop.call_later(pause, self._tick)

    def _pause(self) -> float:
        """Return the seconds until the next message: few, unless there were many of late."""
        now = self._loop.time()
        if self._was_idle:  # a flood gains nothing by the time that its messages take
            self._spare = min(self._spare + now - self._paused, _SPARE * self._window)
        self._was_idle, self._paused = False, now
        self._spare = max(self._spare - self._window, -self._window)
        return self._window * (_SHORT if self._spare >= 0 else 1)

    def drain(self) -> None:
        """Send all output of cells that waits, pieces of one stream and cell joined."""
        queue, joined = self._cells, None
        parts: list[str] = []
        for _ in range(len(queue)):
            item = queue.popleft()
            if joined is not None and (
                joined.stream != item.stream or joined.parent is not item.parent
            ):
                self._send_parts(joined, parts)
                parts = []
            joined = item
            parts.append(item.text)
        if joined is not None:
            self._send_parts(joined, parts)

    def drain_program(self, send: bool = True, most: float = float("inf")) -> None:
        """Take the program's output, and send it (``most`` characters or so) or keep it."""
        if self.program or self._begun:
            self._take(most == math.inf)
        self._drop_oldest()
        if not send:
            return
        self.has_newcomers = False
        self._greet()
        if self._lost.lines:
            metadata = Piece("stderr", None, "").metadata(dropped=self._lost.lines)
            self._send(Text("stderr", dropped(self._lost.lines), None, metadata))
            self._lost.lines = 0
        while self._held and most > 0:
            piece = self._take_held(min(most, CUT))
            most -= len(piece.text)
            if self._lost.is_amid:
                piece = piece._replace(text=self._lost.without_rest(piece.stream, piece.text))
            self._publish(piece)
            if len(self.program) > MANY and most < math.inf:  # the program is faster: take that
                break

    def _take(self, all_of_it: bool) -> None:
        """Take what was written: under a flood only lines that have ended, if not all.

        The others end in the next window. Where lines are dropped nobody sees then the
        beginning of one and the end of another.
        """
        lost, pieces = self.written.take()
        if lost:  # so is what came before it
            before = [*self._held, *self._begun.values()]
            lost = [Lines.of(piece.stream, piece.text) for piece in before] + lost
            self._held.clear()
            self._begun.clear()
            self._held_size = 0
        for lines in lost:
            self._lost.add(lines)
        is_flood = not all_of_it and sum(len(piece.text) for piece in pieces) > _MANY_LINES
        old, self._begun = self._begun, {}
        for piece in pieces:
            begun = self._begun.pop(piece.stream, None) or old.pop(piece.stream, None)
            if begun is not None:
                piece = piece._replace(text=begun.text + piece.text)
            end = piece.text.rfind("\n") + 1
            if is_flood and 0 < len(piece.text) - end < _MANY_LINES:  # a progress bar has no end
                self._begun[piece.stream] = piece._replace(text=piece.text[end:])
                piece = piece._replace(text=piece.text[:end])
            self._keep(piece)
        for piece in old.values():
            self._keep(piece)

    def _keep(self, piece: Piece) -> None:
        if piece.text:
            self._held.append(piece)
            self._held_size += len(piece.text)

    def _take_held(self, most: float) -> Piece:
        """Return the oldest piece, or its first lines if it has more characters than that."""
        piece = self._held.popleft()
        if len(piece.text) > most:
            at = piece.text.rfind("\n", 0, int(most)) + 1 or int(most)
            self._held.appendleft(piece._replace(text=piece.text[at:]))
            piece = piece._replace(text=piece.text[:at])
        self._held_size -= len(piece.text)
        return piece

    def _drop_oldest(self) -> None:
        """Keep what waits within its limit: a flood may be faster than it can be sent.

        What waits for the clients counts, if it does for each: nobody misses then what is
        dropped here, which would only be dropped there.
        """
        if self._held_size <= _LEAST:
            return
        limit = max(self._limit - self._backlog(), _LEAST)
        while self._held_size > limit:
            oldest = self._take_held(self._held_size - limit)
            self._lost.add(Lines.of(oldest.stream, oldest.text))

    def _publish(self, piece: Piece) -> None:
        self._recorder.add(piece.stream, piece.text)
        metadata = piece.metadata()
        for tail in self.tails[:]:
            text = tail.choose(piece)
            if text:
                self._send_parts(Text(piece.stream, "", tail.parent, metadata), [text])
        self._send_parts(Text(piece.stream, "", None, metadata), [piece.text])

    def _send_parts(self, like: Text, parts: list[str]) -> None:
        for text in split("".join(parts)):
            self._send(like._replace(text=text))
