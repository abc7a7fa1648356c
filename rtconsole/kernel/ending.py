"""What the console has of the program, let go before the interpreter ends.

The threads' frames are never unwound, so what hangs on them is never collected. A module
of the program that we refer to when the interpreter clears modules has its names set to
``None`` one by one, and only then are its objects' ``__del__`` called, which find nothing
and fail on the program's stderr. One that nobody refers to goes whole, as without us.
"""

import asyncio
from typing import Any

from IPython.core import completer

from rtconsole import native

from . import hostsys
from .clock import monotonic
from .namespace import Scope

# Seconds for a request to be served: it may be the one that ended the program.
_PATIENCE = 0.03

# By these coroutines of ipykernel's a request is served.
_OF_REQUESTS = "run_in_context", "shell_main"


def let_go(running: Any, alone: bool) -> None:
    """Drop ``__main__``, results and tracebacks, at the end of the program or the console.

    Nothing is dropped while code of a cell is under way: its frame has the program's
    globals, and with the dict held and the module gone nothing would ever clear them.

    Args:
        running: the :class:`.running.RunningKernel`; its kernel is built.
        alone: none of the console's threads is here, in a forked child.
    """
    if (not alone and not _comes_to_rest(running)) or _has_more_to_run(running):
        return
    hostsys.forget_errors(running.host_sys)
    running.namespace.scope = running.listener.scope = Scope()
    running.namespace.clear()
    if running.programs_completer is not completer:
        # for a completer without a namespace, which ours is not
        vars(completer).pop("__main__", None)
    shell = running.kernel.shell
    # Kept: since Python 3.13 the end of an open database, a profile's, gives a warning.
    running.kept = shell.history_manager
    shell.history_manager.output_hist.clear()
    vars(shell).clear()  # with what cells have registered: events, magics, completers


def _comes_to_rest(running: Any) -> bool:
    """Wait a moment for the request that is being served; tell whether there is none."""
    deadline = monotonic() + _PATIENCE
    while running.kernel.routes.in_use or _has_a_requests_task(running):
        if monotonic() > deadline:
            return False
        native.sleep(0.001)
    return True


def _has_a_requests_task(running: Any) -> bool:
    """Tell whether one is there, which on a busy machine ends long after its request was served."""
    runs = (task.get_coro() for task in asyncio.all_tasks(running.loop))
    return any(getattr(run, "__name__", "") in _OF_REQUESTS for run in runs)


def _has_more_to_run(running: Any) -> bool:
    """Tell whether a cell runs or has left what runs later: a task, a timer, a comm."""
    comms = running.kernel.comm_manager
    subshells = running.kernel.shell_channel_thread._manager
    return bool(
        running.kernel.interrupts.is_busy
        or len(asyncio.all_tasks(running.loop)) > 1  # one is RunningKernel.serve
        or getattr(running.loop, "_scheduled", ())
        or comms.comms
        or comms.targets
        or (subshells is not None and subshells.list_subshell())
    )
