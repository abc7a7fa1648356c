"""What ended a process that should not have ended: a signal, libzmq, the interpreter itself.

One that came once in several runs does not come again when it is looked for. So each counts.
"""

import re
import signal
from collections import Counter
from collections.abc import Sequence

# libzmq's last words before it calls abort() (4.3.5, err.hpp), anywhere in a line: those of a
# child stand amid what others print.
_LIBZMQ = re.compile(r"\((?:[\w./-]*/)?(\w+\.[ch]pp:\d+)\)$", re.MULTILINE)

# The interpreter's; not where a test that failed quotes what it looked for.
_PYTHON = re.compile(r"(?:^|\.\.\. )(Fatal Python error: .+)$", re.MULTILINE)
_ABORTED = "Fatal Python error: Aborted"  # faulthandler's, of any abort()

# faulthandler's, of other signals than SIGABRT.
_SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Floating-point exception": signal.SIGFPE,
    "Floating point exception": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
    "Bus error": getattr(signal, "SIGBUS", signal.SIGABRT),  # not on Windows
}

# What the tests say of a child, and their runner of a worker.
_CODE = re.compile(r"(?:return code is|exited with(?: exit)? code|Exit code) (-\d+)")

# The others are sent, such as by a test to a child that takes too long.
_CRASHES = {
    getattr(signal, name)
    for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
}


def found(output: str, code: int) -> Counter[str]:
    """Return what ended the tests' process, and their children as far as that is told of.

    Args:
        output: what they printed.
        code: the process's exit code, negative for a signal. SIGKILL is ours, of one that hung.
    """
    libzmq = Counter(f"libzmq, {place}" for place in _LIBZMQ.findall(output))
    python = Counter(_PYTHON.findall(output))
    python[_ABORTED] -= libzmq.total()  # of the same process
    said = libzmq + python  # without what is not above 0
    signals = Counter(-int(told) for told in _CODE.findall(output) if -int(told) in _CRASHES)
    if code < 0 and code != -signal.SIGKILL:
        signals[-code] += 1
    for kind, count in said.items():  # likewise
        signals[_SIGNALS.get(kind.rpartition(": ")[2], signal.SIGABRT)] -= count
    names = {signal.Signals(number).name: count for number, count in signals.items()}
    return said + Counter(names)


def beyond(
    ours: Sequence[Counter[str]], plain: Sequence[Counter[str]]
) -> dict[str, tuple[int, int]]:
    """Return what ended more of ours than of bare Python's, in a run of either.

    Returns:
        By what it was, in how many runs of ours, and of bare Python's.
    """
    return {
        kind: (sum(kind in run for run in ours), sum(kind in run for run in plain))
        for kind in sorted({kind for run in ours for kind in run})
        if max(run[kind] for run in ours) > max((run[kind] for run in plain), default=0)
    }
