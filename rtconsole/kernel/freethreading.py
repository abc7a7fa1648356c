"""The build of Python without the interpreter lock (PEP 703): is there a kernel, and why not?

Nothing of ours may bring the lock back. There the import of an extension module that does not
declare to do without the lock switches it on for the rest of the process, with a warning on
stderr. Of what a kernel imports, pyzmq and tornado have such modules; tornado's, where it is
compiled for this build at all, declares it.
"""

import sys

# The first whose wheels for this build declare it: tried with 26.2.0, 26.4.0, 27.0.0, 27.1.0.
FIRST_PYZMQ = (26, 2)


def check() -> None:
    """Raise ImportError where there can be no kernel."""
    is_on = getattr(sys, "_is_gil_enabled", None)  # Python 3.13 and later
    if is_on is None or is_on():
        return
    from importlib import metadata

    if reason := reason_against(True, sys.version_info[:2], metadata.version("pyzmq")):
        raise ImportError(reason)


def reason_against(lock_is_off: bool, version: tuple[int, int], pyzmq: str) -> str | None:
    """Return why there can be no kernel, or None if there can.

    On 3.13, where this build is experimental, all worked but for forks from many threads at a
    time beside a kernel: now and again a child hung before its first line.

    Args:
        lock_is_off: whether the program runs without the lock: on other builds it never does.
        version: of Python.
        pyzmq: the installed version.
    """
    if not lock_is_off:
        return None
    if version < (3, 14):
        return "Python 3.13 without the interpreter lock: a fork beside a kernel may hang"
    numbers = tuple(int(part) for part in pyzmq.split(".")[:2] if part.isdigit())
    if numbers >= FIRST_PYZMQ:
        return None
    first = ".".join(map(str, FIRST_PYZMQ))
    return f"pyzmq {pyzmq} would switch the interpreter lock on; from {first} on it does not"
