"""Threads that a cell starts: with the program's signal mask, not with that of our thread.

Our threads block all signals, and a thread inherits the mask of the one that starts it, as do the
processes that it starts later: of a pool's worker, say, which outlives the cell, none could be
terminated. So while a thread starts, ours has the mask that the main thread has at that moment:
signals that this one does not block go to it, and none comes to ours.

But for those that it waits for (sigwait(3)): they are shown as not blocked meanwhile, and would be
taken from it. While it sleeps, the system call that it sleeps in tells which these are. While it
runs, or waits for a processor, it may be about to sleep there, or have just been woken. So it is
looked at until it sleeps, or has computed before and after a look without having slept: however
long that takes on a busy machine.

A thread that computes in Python sleeps for moments, when it hands the interpreter's lock to ours.
So a look holds on to that (:mod:`.atonce`): meanwhile it sleeps until it is given that back. If
the reads let go of it, it would compute amid each look, and sleep between any two.
"""

import _signal
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from rtconsole import descriptors
from rtconsole.native import sleep
from rtconsole.recorder import hide_frame

from . import cell
from .clock import monotonic

# Seconds between two looks at the main thread; and after which it is taken to get no processor at
# all: it may be one that runs only while no other process does (SCHED_IDLE).
_PAUSE, _PATIENCE = 0.0005, 10.0

_SIZE = 8192  # more bytes than /proc tells of what a thread does, or blocks

# Nanoseconds of processor time, some hundred times of what it takes to begin or end to wait for
# signals: who has spent them since it slept last is doing something else.
_COMPUTES = 100_000

# Number of the system call rt_sigtimedwait(2), by os.uname().machine.
_WAITS = {"x86_64": 128, "aarch64": 137, "riscv64": 137, "loongarch64": 137, "ppc64le": 176}

# Of proc(5), /proc/pid/status: what is blocked, and how often it was switched from.
_STATUS = re.compile(rb"^(?:SigBlk|(?:non)?voluntary_ctxt_switches):\s*(\w+)", re.MULTILINE)

# What starts threads, the latter since Python 3.13. By what is in `_thread` others tell whether
# threads are greenlets.
_STARTERS = ("_start_new_thread", "_start_joinable_thread")


class Signals:
    """What the program does with signals.

    Attributes:
        at_start: what its main thread blocked when the console was opened.
    """

    def __init__(self, at_start: Collection[int], main_thread: int) -> None:
        """
        Args:
            main_thread: its native identifier.
        """
        self.at_start = at_start
        self._main = main_thread

    def blocked(self) -> set[int] | None:
        """Return the signals that the main thread blocks; ``None`` if that cannot be told."""
        number = _WAITS.get(os.uname().machine) if sys.platform == "linux" else None
        if number is None:
            return None
        release = descriptors.hold_streams()
        try:
            return self._looked_at(number)
        except (OSError, ValueError, IndexError):  # no /proc, or one that tells less
            return None
        finally:
            release()

    def _looked_at(self, number: int) -> set[int] | None:
        """As :meth:`blocked`.

        Args:
            number: of the system call that waits for signals.
        """
        folder = f"/proc/self/task/{self._main}"
        computed: list[_Look] = []  # since it slept last
        deadline = monotonic() + _PATIENCE
        while monotonic() < deadline:
            before = _Look(folder, self._main)
            call = descriptors.read(f"{folder}/syscall", _SIZE).split()
            if call[0] == b"running":
                computed = [one for one in computed if one.is_like(before)]
                if not computed or before.begun - computed[-1].ended > _COMPUTES:
                    computed.append(before)
                if len(computed) > 2:
                    return _signals(before.blocked)
            else:
                waited = _waited_for(int(call[1], 16)) if int(call[0]) == number else 0
                after = _Look(folder, self._main)
                # with the switches counted: it has slept all the while
                if after.is_like(before) and after.switches == before.switches:
                    return _signals(before.blocked | waited)
            sleep(_PAUSE)
        return None

    @contextmanager
    def as_the_programs(self) -> Iterator[None]:
        """Have the main thread's mask in the with block, if that is known and safe."""
        blocked = self.blocked()
        if blocked is None:
            yield
            return
        own = _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
        try:
            yield
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, own)

    def routes(self) -> list[tuple[Any, str, Callable[[Any], Any]]]:
        """Return what :class:`.cell.Routes` is to replace while a cell runs."""
        programs = sys.modules["threading"]  # ours may be another one: rtconsole.native
        found = [name for name in _STARTERS if hasattr(programs, name)]
        return [(programs, name, self._starter) for name in found]

    def _starter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def start(*arguments: Any, **options: Any) -> Any:
            try:
                if cell.running() is None:
                    return original(*arguments, **options)
                _leave_the_cell(*arguments)
                with cell.uninterrupted(), self.as_the_programs():
                    return original(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise

        return start


def _leave_the_cell(bootstrap: Any, *_: Any) -> None:
    """Have a thread be the program's, not the cell's, where it inherits the context (3.14)."""
    if getattr(sys.flags, "thread_inherit_context", False):
        context = getattr(getattr(bootstrap, "__self__", None), "_context", None)
        if context is not None:
            context.run(cell.current.set, None)


class _Look:
    """What a thread blocks at a moment, and what it has done until then.

    Attributes:
        begun, ended: nanoseconds of the thread's processor time.
        switches: how often it was switched from because it slept, and for others.

    Raises:
        OSError, IndexError: the system does not tell.
    """

    def __init__(self, folder: str, thread: int) -> None:
        clock = (~thread << 3) | 6  # as pthread_getcpuclockid(3) makes it
        self.begun = time.clock_gettime_ns(clock)
        blocked, *self.switches = _STATUS.findall(descriptors.read(f"{folder}/status", _SIZE))
        self.ended = time.clock_gettime_ns(clock)
        self.blocked = int(blocked, 16)

    def is_like(self, other: "_Look") -> bool:
        """Tell whether the thread did not sleep in between, and blocks the same."""
        return self.switches[0] == other.switches[0] and self.blocked == other.blocked


def _waited_for(address: int) -> int:
    """Return the bits of the first argument of rt_sigtimedwait(2), a set of signals.

    By a file, which fails if there is nothing any more (proc(5), /proc/pid/mem).
    """
    return int.from_bytes(descriptors.read("/proc/self/mem", 8, address), sys.byteorder)


def _signals(bits: int) -> set[int]:
    return {number for number in _signal.valid_signals() if bits >> (number - 1) & 1}
