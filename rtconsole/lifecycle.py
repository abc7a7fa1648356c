"""The later life of a listener: an unusual start, the boot, forks, the end.

What is called for a fork or from the parked thread never raises into the program and
never prints. Standard library only. Imported when it is first needed: a program that is
never looked at and never forks does without.
"""

import _signal
import os
import sys
from time import monotonic

from . import listener
from .listener import BOOTING, CLOSED, PARKED, RESTING, Listener, note, system

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    import _socket
    from typing import Any

# Seconds that a fork may wait for us: for the parked thread to be gone, for one import.
LONGEST_STOP = 0.5
LONGEST_IMPORT = 5.0

# Seconds until a program that has hardly any descriptors left is looked at again.
_LATER = 0.5

# Modules of the standard library that hold a lock of theirs while the process forks.
_LOCKED_IN_FORKS = {"logging": "_lock", "concurrent.futures.thread": "_global_shutdown_lock"}

_holds_first = False

DAEMON_PATIENCE = 1.0  # seconds that a program which closes all descriptors is left alone


def open_unusually(self: Listener) -> None:
    from . import unusual

    unusual.open_it(self)


def tcp_socket(self: Listener, channel: str) -> "tuple[_socket.socket, tuple[str, int]]":
    from . import unusual

    return unusual.tcp_socket(self, channel)


def park_without_signals(self: Listener) -> None:
    from . import unusual

    unusual.park_without_signals(self)


def is_eager(self: Listener) -> bool:
    """Tell whether the kernel is to boot without waiting for a client."""
    from . import settings

    if not settings.from_environment().eager:
        return False
    if "rtconsole.inherited" in sys.modules:
        sys.modules["rtconsole.inherited"].wait_for_threading()
    return True


def leave_alone(serve_children: bool) -> None:
    """This program gets no console: forget what the process left before an exec.

    Args:
        serve_children: whether the processes that it forks get one.
    """
    from . import folders

    try:
        folder = folders.runtime_dir(os.environ, sys.platform)
        listener.remove_file(folder, listener.file_name(os.getpid()))
    except OSError:
        pass  # no folder, and so nothing to forget: the program starts as it would
    if serve_children:
        listener.opens_in_children = True
        listener.hook()


def stop() -> None:
    """Close this process's listener, if it has one."""
    closing, listener.current = of_this_process(listener.current), None
    if closing is not None:
        close(closing)
    if "RTCONSOLE_HISTORY" in os.environ:
        from . import recorder

        recorder.stop()


# -- the end ---------------------------------------------------------------------------


def close(self: Listener) -> None:
    """Take everything back: thread or kernel, sockets, files."""
    if self.state == PARKED:
        _unpark(self)
    self.state = CLOSED
    self.forget_file()
    kernel, self.kernel = self.kernel, None
    if kernel is not None:
        kernel.close()
    _close_descriptors(self)


def _close_descriptors(self: Listener) -> None:
    for fd in list(self.identity):
        if _is_ours(self, fd):
            system.close(fd)
    self.identity.clear()
    self.sockets.clear()
    self.pipe = None


def _is_ours(self: Listener, fd: int) -> bool:
    """Tell whether ``fd`` still is what we opened: a daemon may have closed it."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return self.identity.get(fd) == (status.st_dev, status.st_ino)


# -- descriptors that the program has closed ---------------------------------------------


def revive(self: Listener) -> bool:
    """The parked thread's pipe was written to or is gone: go on waiting only if it is gone.

    A daemon closes all descriptors, and may rely on the numbers that it gets next: so a
    second is waited before new ones are made, at the same addresses and far up.
    """
    if _is_ours(self, self.pipe[0]):
        return False
    if self.nudge.acquire(timeout=DAEMON_PATIENCE) or self.state != PARKED:
        return False
    _renew(self)
    self.pipe = far_up(self, os.pipe())
    return True


def _renew(self: Listener) -> None:
    """Make sockets anew, at the same addresses, that the program has closed."""
    for channel, fd in list(self.sockets.items()):
        if not _is_ours(self, fd):
            self.identity.pop(fd, None)
            self.listen(channel)
            (self.sockets[channel],) = far_up(self, (self.sockets[channel],))


def far_up(self: Listener, fds: "Any") -> "Any":
    """Move descriptors out of the range in which programs count on theirs."""
    try:
        import fcntl
    except ImportError:  # Windows
        return tuple(self.own(fd) for fd in fds)
    moved = []
    for fd in fds:
        self.identity.pop(fd, None)
        moved.append(self.own(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)))
        system.close(fd)
    return tuple(moved)


# -- the boot --------------------------------------------------------------------------


def boot(self: Listener) -> None:
    """Hand over to the kernel; if that fails, tell who rang, and the debug log."""
    try:
        with self.gate:
            from . import descriptors, native  # noqa: F401  # both, here: see before_fork
        _renew(self)
        if not _can_be_spared(self):
            return
        greenlets = native.is_wanted()
        try:
            with self.gate, native.module_locks(greenlets):
                from .kernel import boot
        except ImportError as error:  # beside an import of the program: see import_patiently
            note("importing the boot again", error)
            native.sleep(0.1)
            with self.gate:
                from .kernel import boot
        boot.launch(self, greenlets, hold_imports_first, boot_failed)
    except BaseException as error:  # protects the program: the console's fault ends here
        boot_failed(self, error)


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
    """Serve a kernel that only says why there is none; runs until the process ends."""
    note("the kernel did not boot", error)
    try:
        from . import refusal

        refusal.serve(self.info, self.sockets, f"{type(error).__name__}: {error}")
    except BaseException as worse:  # protects the program, likewise
        note("nor could the client be told", worse)


# -- fork ------------------------------------------------------------------------------


def before_fork(self: Listener | None) -> Listener | None:
    """Be no thread while the program forks, or at least not inside an import.

    A child born in the middle of an import would inherit a half-imported module and a
    lock whose owner is not there.
    """
    self = of_this_process(self)
    if self is not None:
        if self.state == PARKED:
            if _unpark(self):
                self.state = RESTING
            else:
                note("forking beside a thread that did not stop")
        hold_imports(self)
    return self


def of_this_process(self: Listener | None) -> Listener | None:
    """Return the listener; a child that C forked, unknown to at-fork handlers, gets its own.

    Until then it has its parent's, without the thread: as uWSGI's workers by default.
    """
    if self is None or self.info["rtconsole"]["pid"] == os.getpid():
        return self
    return after_fork_in_child(self)


def hold_imports(self: Listener | None) -> None:
    """Wait until a boot is between two imports and keep it there; once in each fork."""
    if self is None or self.state != BOOTING or self.gate_taken:
        return
    missing = [name for name in _LOCKED_IN_FORKS if not _is_imported(name)]
    self.gate_taken = self.gate.acquire(timeout=LONGEST_IMPORT)
    for name in filter(_is_imported, missing):
        # Imported while we waited: its hook for after the fork will be called and release
        # this lock; the one for before, which takes it, may not have been.
        lock = getattr(sys.modules[name], _LOCKED_IN_FORKS[name])
        if not getattr(lock, "_is_owned", bool)():
            lock.acquire(blocking=False)


def _is_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def hold_imports_first() -> None:
    """Let forks wait for an import before they take locks that an import may need.

    ``logging`` and ``concurrent.futures`` take theirs in hooks of their own, and of such
    hooks the newest is called first: so ours is registered once more, after theirs.
    """
    global _holds_first
    if not _holds_first and hasattr(os, "register_at_fork"):
        _holds_first = True
        os.register_at_fork(before=_hold_imports_safely)


def _hold_imports_safely() -> None:
    try:
        hold_imports(listener.current)
    except Exception as error:  # protects the program's fork
        note("before fork, among the first", error)


def _unpark(self: Listener) -> bool:
    """Stop the parked thread; tell whether it is gone (it may just have been rung).

    Returns when the OS thread is no more, not only the Python one: ``os.fork`` counts OS
    threads and warns (Python 3.12 and later).
    """
    if self.pipe is None:
        return False
    intact = all(_is_ours(self, fd) for fd in self.pipe)
    if intact:
        system.write(self.pipe[1], b"x")
    else:  # the program closed it, which woke the thread
        self.nudge.release()
    deadline = monotonic() + LONGEST_STOP
    if not self.gone.acquire(timeout=LONGEST_STOP) or self.state != PARKED:
        return False
    if intact:
        system.read(self.pipe[0], 1)
    else:
        self.pipe = None
    task = f"/proc/self/task/{self.thread_id}"
    while os.path.exists(task) and monotonic() < deadline:
        os.sched_yield()
    return True


def after_fork_in_parent(self: Listener | None) -> Listener | None:
    """Wait for connections again."""
    if self is not None:
        if self.state == RESTING:
            _park_after_fork(self)
        elif self.gate_taken:
            self.gate_taken = False
            self.gate.release()
    return self if self is None or self.state != CLOSED else None


def _park_after_fork(self: Listener) -> None:
    """Park again; in Python 3.13 once ``os.fork`` has returned, which there counts threads."""
    if sys.version_info[:2] == (3, 13):
        try:
            from . import pending

            return pending.call(lambda: _park_now(self))
        except (ImportError, OSError, AttributeError) as error:
            note("the fork will warn of a thread", error)
    return _park_or_close(self)


def _park_now(self: Listener) -> bool:
    """Park, unless ``os.fork`` still runs its at-fork handlers: then say that it is too early."""
    if self.state == RESTING and listener.current is self:
        _park_or_close(self)
    return self.state != RESTING or listener.current is not None


def _park_or_close(self: Listener) -> None:
    """Park; where there is no thread to be had, leave nothing that promises a console."""
    try:
        self.park()
    except (OSError, RuntimeError) as error:
        note("no thread after a fork", error)
        if listener.current is self:
            listener.current = None
        close(self)


def after_fork_in_child(self: Listener | None) -> Listener | None:
    """Start clean: none of the parent's sockets; a file, key and thread of our own.

    Args:
        self: the parent's listener, as the child inherited it.

    Returns:
        The child's.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    if "rtconsole.native" in sys.modules:  # before anything is imported
        sys.modules["rtconsole.native"].after_fork_in_child()
    if "RTCONSOLE_EAGER" in os.environ:
        from . import inherited

        inherited.expect_threading()
    if self is None:
        fresh = Listener("multiprocessing") if listener.opens_in_children else None
    else:
        if self.state != RESTING:
            from . import inherited

            inherited.close_sockets(self.info)
        if self.kernel is not None:
            if self.kernel.runs_cells_here() and self.signal_mask is not None:
                # a cell forked: the child's only thread is ours, which blocks all signals
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self.signal_mask)
            inherited.forget_imports(self.kernel.abandon())
        self.state = CLOSED
        _close_descriptors(self)
        fresh = Listener(self.label)
        fresh.scope = self.scope
        if self.folders and _are_still_ours(*self.folders):
            # not by the environment, which the program may have changed: who looks for us
            # sees the one that it was started with
            fresh.folders = self.folders
    if fresh is not None:
        fresh.open()
        from . import leftovers

        leftovers.sweep(os.path.dirname(fresh.connection_file))
    return fresh


def _are_still_ours(runtime: str, sockets: str) -> bool:
    """Tell whether a parent's folders will do: it may have become another user, or chrooted."""
    return listener.is_own_folder(runtime, 0o022) and listener.is_own_folder(sockets, 0o077)
