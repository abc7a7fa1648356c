"""Threads that a cell starts: with the program's signal mask, not with that of our thread.

Our threads block all signals, and a thread inherits the mask of the one that starts it, as do the
processes that it starts later: of a pool's worker, say, which outlives the cell, none could be
terminated. So while a thread starts, ours has the mask that the main thread has at that moment:
signals that this one does not block go to it, and none comes to ours. But for those that it waits
for (sigwait(3)): they are shown as not blocked meanwhile, and would be taken from it. So its mask
is known only while it sleeps in some other system call, or waits for the interpreter. Else ours
stays as it is.
"""

import _signal
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from rtconsole import descriptors
from rtconsole.native import sleep
from rtconsole.recorder import hide_frame

from . import cell

# How often the main thread is looked at, and the seconds between two looks.
_LOOKS, _PAUSE = 10, 0.0005

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
        folder = f"/proc/self/task/{self._main}"
        release = descriptors.hold_streams()
        try:
            for _ in range(_LOOKS):
                before = _STATUS.findall(_read(f"{folder}/status"))
                call = _read(f"{folder}/syscall").partition(b" ")[0]
                # the same, with the switches counted: it has slept all the while
                if before == _STATUS.findall(_read(f"{folder}/status")) and call.isdigit():
                    return None if int(call) == number else _signals(int(before[0], 16))
                sleep(_PAUSE)
            return None
        except (OSError, ValueError, IndexError):  # no /proc, or one that tells less
            return None
        finally:
            release()

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
                with self.as_the_programs():
                    return original(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise

        return start


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _signals(bits: int) -> set[int]:
    return {number for number in _signal.valid_signals() if bits >> (number - 1) & 1}
