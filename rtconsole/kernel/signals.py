"""Signals of processes that a cell starts.

Our threads block all signals, and a new process inherits its starter's mask: it could not
be interrupted or terminated. So for the moment of starting it the thread takes the mask
that the program's threads have. No more than that is unblocked: a signal that the program
blocks, to wait for it with sigwait, may be pending, and would be ours the next instant.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def blocked_by_program(own_threads: set[int]) -> set[int] | None:
    """Return the signals that any of the program's Python threads blocks.

    Args:
        own_threads: identifiers of the console's threads.

    Returns:
        ``None`` if it cannot be told: elsewhere than on Linux (proc(5), SigBlk).
    """
    mask = 0
    try:
        for thread in threading.enumerate():
            if thread.ident not in own_threads and thread.native_id is not None:
                with open(f"/proc/self/task/{thread.native_id}/status") as status:
                    (line,) = [line for line in status if line.startswith("SigBlk:")]
                mask |= int(line.split()[1], 16)
    except (OSError, ValueError):
        return None
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


@contextmanager
def as_the_program(own_threads: set[int]) -> Iterator[None]:
    """Start a process in the with block: it inherits the program's signal mask."""
    blocked = blocked_by_program(own_threads)
    if blocked is None:
        yield
        return
    ours = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)
