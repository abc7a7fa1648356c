"""Somebody connected: hand over to the kernel, if the program has room for one.

Runs in the parked thread, and never raises into the program. Standard library only.
"""

import sys

from . import forks, lifecycle, renewal
from .listener import BOOTING, CLOSED, Listener, note, tried

# Seconds until a program that has hardly any descriptors left is looked at again; and one that
# imports what we want, and how often.
_LATER, _LOOK, _MOST_LOOKS = 0.5, 0.001, 1000

# Seconds between a boot that failed and the next one, at least: the first, and what it grows to.
_pause, _LONGEST_PAUSE = 1.0, 10.0


def boot(self: Listener) -> None:
    """Hand over to the kernel; if that fails, tell who rang, and the debug log.

    What is imported until there is :mod:`.native` is so twice. A module's lock knows its owner by
    `_thread.get_ident`: if gevent replaces that meanwhile, the lock is not released (RuntimeError,
    "cannot release un-acquired lock"). It goes with the traceback, and the module is there.
    """
    try:
        renewal.renew(self)
        _name_import_system()
        with self.gate:
            tried(lambda: __import__("rtconsole.descriptors"), None, RuntimeError)
            from . import descriptors
        release = descriptors.hold_streams()  # what is imported is read by a descriptor
        try:
            with self.gate:
                tried(_import_first, None, RuntimeError)
                _import_first()
        finally:
            release()
        from . import native, turns

        forks.wait_until_born()
        turns.shorten()
        native.wait_while_importing()
        greenlets = native.is_wanted()
        release = descriptors.hold_streams()
        try:
            # these the program may import, too: a lock of theirs has to be released
            with self.gate, native.module_locks(greenlets):
                _import_collections_abc()
                try:
                    import resource  # noqa: F401, for who looks whether there is room
                except ImportError:  # Windows
                    pass
        finally:
            release()
        if not _can_be_spared(self):
            return
        release = descriptors.hold_streams()
        try:
            _launch(self)
        finally:
            release()  # the kernel's thread holds them as its first act
    except BaseException as error:  # protects the program: the console's fault ends here
        boot_failed(self, error)


def _launch(self: Listener) -> None:
    """Start the kernel's threads, if there is room for them."""
    from . import native, room

    room.check_memory()
    room.check_forks()
    greenlets = native.is_wanted()
    try:
        with self.gate, native.module_locks(greenlets):
            from .kernel import boot
    except ImportError as error:  # beside an import of the program: see kernel.importing
        note("importing the boot again", error)
        native.sleep(0.1)
        with self.gate:
            from .kernel import boot
    boot.launch(self, greenlets, forks.hold_imports_first, boot_failed)


def _name_import_system() -> None:
    """Enter the import system by the names by which ``importlib`` does, before that is imported.

    Else who imports a module of it, while another thread is in the midst of importing itself, loads
    the import system a second time, and the program's would be one that does not know ``sys``.
    """
    for name in ("", "_external"):
        found = sys.modules[f"_frozen_importlib{name}"]
        sys.modules.setdefault(f"importlib._bootstrap{name}", found)


def _import_first() -> None:
    """Import what a fork must not meet half imported: all, here, see :func:`.forks.before_fork`."""
    from . import native, room, turns  # noqa: F401


def _import_collections_abc() -> None:
    """Import ``collections.abc``, and let the program's import of it go on at any moment.

    In Python 3.13.0 it replaces itself in ``sys.modules`` when it has begun. Who waits until
    another thread has imported it is given what is left of it, and finds no name in that.
    """
    import _collections_abc
    import collections

    from .native import sleep

    if sys.version_info < (3, 13):
        return
    for _ in range(_MOST_LOOKS):  # the program may be at it
        if sys.modules.setdefault("collections.abc", _collections_abc) is _collections_abc:
            break
        sleep(_LOOK)
    vars(collections).setdefault("abc", _collections_abc)


def _can_be_spared(self: Listener) -> bool:
    """Wait until the program has the descriptors for a kernel; false if it ends before."""
    from . import descriptors, native

    if not descriptors.allow_a_kernel():
        note("a client waits: the program has hardly any descriptors left")
    while not descriptors.allow_a_kernel():
        native.sleep(_LATER)
        if self.state != BOOTING:
            return False
    return True


def boot_failed(self: Listener, error: BaseException) -> None:
    """Serve a kernel that only says why there is none, until who rang has left; and park again.

    What was in the way may be over when the next one rings: memory was short, say, or a test had
    replaced ``os.stat``. Where not even that can be said there is no console any more.
    """
    global _pause
    if "rtconsole.turns" in sys.modules:
        sys.modules["rtconsole.turns"].give_back()
    # From 3.12 on the first thing that an interpreter refuses when it ends is a new thread.
    if self.state == CLOSED or (isinstance(error, RuntimeError) and "shutdown" in str(error)):
        return
    gone = self.gone  # for who closes this meanwhile
    gone.acquire(blocking=False)
    try:
        with self.gate:
            note("the kernel did not boot", error)
            from . import room

            room.check_for_a_word()  # before what is told in imports half the standard library
            from . import refusal

        refusal.serve(self, f"{type(error).__name__}: {error}", _pause)
        _pause = min(_pause * 2, _LONGEST_PAUSE)
        with self.gate:  # until then nobody closes it, nor ends Python
            if self.state != CLOSED:
                self.kernel = None
                forks.park_or_close(self)
    except BaseException as worse:  # protects the program, likewise
        lifecycle.give_up(self, worse)
    finally:
        gone.release()
