"""The imports of a boot, beside a program that may import the same modules.

Python locks each module while it is imported. Of two threads that come to wait for each other's
modules one is given a module that is not complete, or an error, and that may be the program's:
so nothing is begun while the program is importing, and no package is waited for with the lock
of a module in it held.
"""

import atexit
import sys
from typing import Any

from rtconsole import debuglog, native, signals, turns

# In the order in which they build on each other, so that no single import takes long: a
# fork waits for the one that is under way.
_IMPORTS = (
    "asyncio",
    "traitlets.config",
    "zmq.eventloop.zmqstream",
    "tornado.ioloop",
    "jupyter_client.session",
    "IPython.core.interactiveshell",
    "IPython.core.completerlib",
    "ipykernel.zmqshell",
    "ipykernel.ipkernel",
    "ipykernel.control",
    "rtconsole.kernel.iopub",
    "rtconsole.kernel.debugging",
    "rtconsole.kernel.app",
    "rtconsole.kernel.profile",
    "rtconsole.kernel.subshells",
)

# What these register to be called at the program's end.
_AT_EXIT = {"zmq.sugar.context": "_notice_atexit", "tornado.platform.asyncio": "_atexit_callback"}

# Seconds until an import that failed beside one of the program's is tried again.
_PAUSES = (0.02, 0.1, 0.5)


def load_modules(gate: Any, main_thread_id: int) -> None:
    """Import what the kernel is made of.

    Args:
        gate: held around each import.
        main_thread_id: identifier of the program's main thread.
    """
    for name in _IMPORTS:
        turns.shorten()
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            native.wait_while_importing()
            if native.are_made():
                native.wait_while_patching(main_thread_id)
            _import(gate, ".".join(parts[:count]))


def callbacks() -> list[str]:
    """Return which modules register a callback for the program's end, if they are imported now."""
    return [name for name in _AT_EXIT if name not in sys.modules]


def take_callbacks(names: list[str]) -> None:
    """Have those callbacks called with no signal's handler amid them: the program knows of none."""
    for name in names:
        callback = getattr(sys.modules.get(name), _AT_EXIT[name], None)
        if callback is not None:
            atexit.unregister(callback)
            signals.at_exit(callback)


def _import(gate: Any, name: str) -> None:
    for pause in _PAUSES:
        try:
            with gate:
                __import__(name)  # not importlib's: this one minds the program's names
            return
        except ModuleNotFoundError:
            raise
        except (ImportError, RuntimeError) as error:
            if not isinstance(error, ImportError) and type(error).__name__ != "_DeadlockError":
                raise
            debuglog.note(f"importing {name} again", error)
            native.sleep(pause)
    with gate:
        __import__(name)
