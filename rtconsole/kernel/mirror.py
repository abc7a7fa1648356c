"""The mirror: which of the program's streams are hooked, when, and what for.

Dormant, and as long as no client listens, the streams are as the program has them. While
one does, what the program writes is shown to the clients as well; while a cell runs, what
the cell writes goes to its client. Nothing here is called by the program's own writes.
"""

import gc
import io
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .hooks import BUFFERS_ARE_FRAGILE
from .publisher import Publisher
from .streams import StandIn, Tap

# tee: to the clients as well. redirect: to them only, while there are any. errors: as tee,
# but stderr alone. off: nothing.
MODES = ("tee", "redirect", "errors", "off")

# In the place of ``sys.stdout`` where there is no such name: print() raises RuntimeError then.
_DELETED = object()


class Mirror:
    """The hooks on the program's streams. From threads of the console only."""

    def __init__(self, publisher: Publisher, mode: str) -> None:
        self._publisher = publisher
        self._mode = mode
        self._lock = threading.Lock()
        self._is_heard = False
        self._cells = 0
        self._taps: list[Tap] = []
        self._replaced: list[tuple[str, Any, StandIn]] = []
        # Those that were used last, kept: print() holds no reference to what it writes to
        # (Python up to 3.13 at least), and may be in the middle of a line when it goes.
        self._stand_ins: deque[StandIn] = deque(maxlen=16)

    @property
    def mode(self) -> str:
        """One of ``MODES``."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
        with self._lock:
            self._mode = mode
            self._arrange()

    def listen(self, is_heard: bool) -> None:
        """Begin or end to mirror: there is somebody to show it to, or nobody any more."""
        with self._lock:
            if is_heard != self._is_heard:
                self._is_heard = is_heard
                self._arrange()

    @contextmanager
    def cell(self) -> Iterator[None]:
        """Lead what the cell in the with block writes to its client."""
        with self._lock:
            self._cells += 1
            self._arrange()  # also for a second one: the program may have new streams
        try:
            yield
        finally:
            with self._lock:
                self._cells -= 1
                self._arrange()

    def end(self) -> None:
        """End to mirror, at the program's end; waits for next to nothing.

        A cell that still runs goes on writing to its client, not into the program's output.
        """
        self._is_heard = False
        if self._lock.acquire(timeout=0.01):
            try:
                self._arrange()
                for tap in self._taps:
                    tap.leave_flush()
            finally:
                self._lock.release()

    def abandon(self) -> None:
        """In a forked child: its streams are its own."""
        self._lock = threading.Lock()  # somebody who is not here may have it
        self._is_heard, self._cells = False, 0
        self._arrange()

    def _arrange(self) -> None:
        if not self._cells:
            self._give_back()
        if not self._is_heard and not self._cells:
            for tap in self._taps:
                tap.remove()
            self._taps.clear()
            return
        self._follow()
        for tap in self._taps[:]:
            stream = tap.stream()
            if stream is None:
                self._taps.remove(tap)
                continue
            mode = self._mode if self._is_heard else "off"
            if mode == "errors":
                mode = "tee" if tap.name == "stderr" else "off"
            if self._passes_on(stream):
                mode = "off"
            tap.install(mode, bool(self._cells))

    def _give_back(self) -> None:
        """Put back the streams that were replaced, except those that are to be mirrored."""
        for name, stream, stand_in in self._replaced[:]:
            is_there = getattr(sys, name, None) is stand_in
            if self._is_heard and stream is not None and is_there:
                continue
            if is_there:
                setattr(sys, name, stream)
            self._replaced.remove((name, stream, stand_in))
            for tap in self._taps[:]:
                if tap.stream() is stand_in:
                    tap.remove()
                    self._taps.remove(tap)

    def _follow(self) -> None:
        """See that the program's streams of today are among ours.

        Those of yesterday stay: what replaced them may be a ``redirect_stdout`` that ends.
        """
        for name in ("stdout", "stderr"):
            current = getattr(sys, name, _DELETED)
            for stream in (getattr(sys, f"__{name}__", None), current):
                is_current = stream is current
                if any(tap.stream() is stream for tap in self._taps):
                    continue
                # print() writes nothing if sys.stdout is None, as a stand-in does; but to
                # sys.stdout if sys.stderr is
                is_printed_to = is_current and self._cells and name == "stdout"
                if stream is _DELETED or (stream is None and not is_printed_to):
                    continue
                try:
                    self._taps.append(Tap(stream, name, self._publisher))
                except Exception:  # protects the console: whatever the program's object raises
                    if is_current:
                        self._stand_in(stream, name)

    def _stand_in(self, stream: Any, name: str) -> None:
        """Replace a stream that takes no attributes."""
        for stand_in in self._stand_ins:
            if stand_in.stands_for(stream, name):
                break
        else:
            stand_in = StandIn(stream, name)
            self._stand_ins.append(stand_in)
        setattr(sys, name, stand_in)
        self._taps.append(Tap(stand_in, name, self._publisher))
        self._replaced.append((name, stream, stand_in))

    def _passes_on(self, stream: Any) -> bool:
        """Tell whether a stream leads to another one of ours, where its text will be seen.

        Somebody's ``Tee(sys.stdout, log)``, say: its text would be shown twice. What a
        plain text stream writes to a buffer of ours is known to have been shown.
        """
        if type(stream) is io.TextIOWrapper:
            return False
        others = [tap.stream() for tap in self._taps]
        others = [other for other in others if other is not None and other is not stream]
        buffers = [] if BUFFERS_ARE_FRAGILE else [getattr(o, "buffer", o) for o in others]
        reached: list[Any] = [stream]
        for _ in range(3):
            reached = [
                found
                for found in gc.get_referents(*reached)
                if not issubclass(type(found), (types.ModuleType, type, types.FunctionType))
            ][:1000]
            if any(found is other for found in reached for other in (*others, *buffers)):
                return True
        return False
