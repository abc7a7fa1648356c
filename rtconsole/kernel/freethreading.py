"""The build of Python without the interpreter lock (PEP 703): nothing of ours may bring it back.

There the import of an extension module that does not declare to do without the lock switches it
on for the rest of the process, with a warning on stderr. Of what a kernel imports, pyzmq and
tornado have such modules; tornado's, where it is compiled for this build at all, declares it.
"""

import sys

# The first whose wheels for this build declare it: tried with 26.2.0, 26.4.0, 27.0.0, 27.1.0.
FIRST_PYZMQ = (26, 2)


def check() -> None:
    """Raise ImportError where the import of zmq, if it is still to come, would switch it on."""
    is_on = getattr(sys, "_is_gil_enabled", None)  # Python 3.13 and later
    if is_on is None or is_on() or "zmq" in sys.modules:
        return
    from importlib import metadata

    if reason := would_bring_it_back(True, metadata.version("pyzmq")):
        raise ImportError(reason)


def would_bring_it_back(lock_is_off: bool, pyzmq: str) -> str | None:
    """Return why there can be no kernel, or None if there can.

    Args:
        lock_is_off: whether the program runs without the lock: on other builds it never does.
        pyzmq: the installed version.
    """
    numbers = tuple(int(part) for part in pyzmq.split(".")[:2] if part.isdigit())
    if not lock_is_off or numbers >= FIRST_PYZMQ:
        return None
    first = ".".join(map(str, FIRST_PYZMQ))
    return f"pyzmq {pyzmq} would switch the interpreter lock on; from {first} on it does not"
