"""From the parked thread to the shell thread, in which the kernel is loaded and runs.

Nothing that imports ``threading`` may be imported at the top: see ``_import_threading``.
"""

import sys
from collections.abc import Callable
from typing import Any

from rtconsole import descriptors, room


def launch(
    listener: Any,
    hold_imports_first: Callable[[], None],
    failed: Callable[[Any, BaseException], None],
) -> None:
    """Start the kernel's threads and return.

    Called in the parked thread, which ``threading`` does not know and must not get to
    know: it would list it for ever.

    Args:
        listener: the :class:`rtconsole.listener.Listener`.
        hold_imports_first: called once ``logging`` is imported.
        failed: called with the listener and what went wrong, in the kernel's thread.
    """
    with listener.gate:
        _import_threading(listener.main_thread_id, listener.main_native_id)
    import threading

    arguments = listener, hold_imports_first, failed
    threading.Thread(target=_run, args=arguments, name="rtconsole", daemon=True).start()


def _import_threading(main_thread_id: int, main_native_id: int) -> None:
    """Import ``threading`` without becoming its main thread.

    Until Python 3.12 the thread that first imports it is taken for the main one. What
    that gets wrong is put right before any other thread can have the module: imports of
    it wait for the module's lock, which is held meanwhile.
    """
    if "threading" in sys.modules:
        return
    if sys.version_info >= (3, 13):
        import threading

        # Its ident is the main thread's by now; its native id still is the importing one's.
        current: Any = threading.main_thread()
        current._native_id = main_native_id
        return
    from importlib import _bootstrap

    bootstrap: Any = _bootstrap
    with bootstrap._ModuleLockManager("threading"):
        import threading

        main: Any = threading._main_thread  # type: ignore[attr-defined]
        if main.ident == main_thread_id:
            return
        active: Any = threading._active  # type: ignore[attr-defined]
        del active[main.ident]
        main._ident = main_thread_id
        if hasattr(main, "_native_id"):
            main._native_id = main_native_id
        active[main_thread_id] = main
        # The lock that is released at the main thread's end is bound to this one: replaced
        # by one that, like it, is held until `threading._shutdown` releases it.
        import _thread

        locks: Any = threading._shutdown_locks  # type: ignore[attr-defined]
        locks.discard(main._tstate_lock)
        main._tstate_lock = _thread.allocate_lock()
        main._tstate_lock.acquire()
        locks.add(main._tstate_lock)


def _run(
    listener: Any,
    hold_imports_first: Callable[[], None],
    failed: Callable[[Any, BaseException], None],
) -> None:
    """The shell thread: build the kernel, then run cells until the end."""
    release = descriptors.hold_streams()
    try:
        with listener.gate:
            import logging  # noqa: F401

            hold_imports_first()
        with listener.gate:
            import asyncio

            from .imports import own_imports
        with own_imports():
            with listener.gate:
                room.check_threads()
                from .running import RunningKernel
            running = RunningKernel(listener)
            running.load()
        with running.spared.opening():
            loop = asyncio.SelectorEventLoop()
        loop.set_debug(False)  # -X dev means the program's: slow callbacks go to its stderr
        try:
            loop.run_until_complete(running.serve(loop, release))
        finally:
            loop.close()
            running.dismantle()
    except BaseException as error:  # protects the program: it goes on without a console
        release()
        failed(listener, error)
