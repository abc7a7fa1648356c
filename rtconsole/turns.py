"""Shorter turns of the threads while a kernel boots beside a program that computes.

A boot makes some thousands of system calls, each of which lets go of the interpreter; and who
computes takes it then, and keeps it for a switch interval, which is 5 ms. So the boot took
seven seconds instead of a tenth of one. There, and only there, the interval is shortened until
the kernel runs.

It is the whole process's. So it is left alone where the program has set one; given back unless
the program has set one meanwhile; and is a number that nobody else would choose: a program that
read it in that second, and sets it "back" later on, is known by it and given Python's own.

Standard library only.
"""

import sys
import types

from . import native

# Microseconds: what Python starts with (Python/ceval_gil.c), and ours.
_PYTHONS, _OURS = 5000, 503

# How often the interpreter is let go of to see whether somebody takes it: to sleep for no time
# takes 60 microseconds on Linux, in which who waits for it wakes up.
_TRIES = 3

# Seconds that this thread and all together had computed when it last asked.
_computed: "tuple[float, float] | None" = None


def shorten() -> None:
    """Shorten the switch interval if somebody computes, and the interval is Python's own."""
    if _interval() == _PYTHONS and _somebody_computes():
        sys.setswitchinterval(_OURS / 1e6)


def give_back() -> None:
    """Have Python's own interval again, if it is ours now."""
    global _computed
    _computed = None
    if _interval() == _OURS:
        sys.setswitchinterval(_PYTHONS / 1e6)


def _interval() -> int:
    return round(sys.getswitchinterval() * 1e6)


def _somebody_computes() -> bool:
    """Tell whether others have computed since this thread last asked, and more than it has.

    By processor time: on a busy machine it is chance whether who computes takes the interpreter
    at once, and who has waited may have waited for a processor.
    """
    global _computed
    time = sys.modules["time"]
    process, thread = time.process_time, time.thread_time
    if not (type(process) is type(thread) is types.BuiltinFunctionType):
        return False  # replaced, by who makes time stand still
    before = _computed or (thread(), process())
    for _ in range(_TRIES):
        native.sleep(0)
    _computed = own, all_threads = thread(), process()
    others = (all_threads - before[1]) - (own - before[0])
    return bool(others > max(own - before[0], _PYTHONS / 2e6))
