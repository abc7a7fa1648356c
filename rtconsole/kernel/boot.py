"""From the parked thread to the shell thread, in which the kernel is loaded and runs.

Nothing that imports ``threading`` may be imported at the top: see ``_import_threading``.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rtconsole import descriptors, room


def launch(
    listener: Any,
    greenlets: bool,
    hold_imports_first: Callable[[], None],
    failed: Callable[[Any, BaseException], None],
) -> None:
    """Start the kernel's threads and return.

    Called in the parked thread, which ``threading`` does not know and must not get to
    know: it would list it for ever.

    Args:
        listener: the :class:`rtconsole.listener.Listener`.
        greenlets: what the program takes for threads may be such, or become such.
        hold_imports_first: called once ``logging`` is imported, and once all is.
        failed: called with the listener and what went wrong, in the kernel's thread.
    """
    with listener.gate:
        from rtconsole import native

        if greenlets:
            native.has_other_locks()  # imports what it asks, which it is asked again below
    if greenlets:
        native.wait_while_patching(listener.main_thread_id)
    main = listener.main_thread_id, listener.main_native_id
    with listener.gate, native.module_locks(greenlets):
        _import_threading(*main)
        natives = native.modules(*main) if greenlets else {}
        from . import hidden
    import threading

    ours: Any = natives.get("threading", threading)
    arguments = listener, natives, hold_imports_first, failed
    hidden.hide(ours)
    with room.for_deep_calls():
        hidden.mark(ours.Thread(target=_run, args=arguments, name="rtconsole", daemon=True)).start()


def _import_threading(main_thread_id: int, main_native_id: int) -> None:
    """Import ``threading`` without becoming its main thread.

    Until Python 3.12 the thread that first imports it is taken for the main one. What
    that gets wrong is put right before any other thread can have the module: imports of
    it wait for the module's lock, which is held meanwhile.
    """
    if "threading" in sys.modules:
        return
    from rtconsole.native import set_main_thread

    bootstrap: Any = sys.modules["_frozen_importlib"]
    with bootstrap._ModuleLockManager("threading"):
        import threading

        set_main_thread(threading, main_thread_id, main_native_id)


def _run(
    listener: Any,
    natives: dict[str, ModuleType],
    hold_imports_first: Callable[[], None],
    failed: Callable[[Any, BaseException], None],
) -> None:
    """The shell thread: build the kernel, then run cells until the end."""
    release = descriptors.hold_streams()
    try:
        _build_and_serve(listener, natives, hold_imports_first, release)
    except BaseException as error:  # protects the program: it goes on without a console
        release()
        failed(listener, error)


def _build_and_serve(
    listener: Any,
    natives: dict[str, ModuleType],
    hold_imports_first: Callable[[], None],
    built: Callable[[], None],
) -> None:
    """Likewise; whatever of the kernel there is when an error comes is taken apart."""
    from rtconsole.native import module_locks, wait_while_importing

    running: Any = None
    try:
        with module_locks(bool(natives)):
            wait_while_importing()
            with listener.gate:
                import logging  # noqa: F401

                hold_imports_first()
            wait_while_importing()
            with listener.gate:
                import asyncio  # noqa: F401

                from .imports import own_imports
            with own_imports(natives):
                wait_while_importing()
                with listener.gate:
                    room.check_threads()
                    from .running import RunningKernel
                running = RunningKernel(listener)
                running.load()
                with listener.gate:
                    from .loops import Loop

                    hold_imports_first()
        with running.spared.opening():
            loop = Loop()
        try:
            loop.run_until_complete(running.serve(loop, built))
        finally:
            loop.close()
    finally:
        if running is not None:
            running.dismantle()
