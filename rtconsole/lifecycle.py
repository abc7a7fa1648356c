"""The later life of a listener: an unusual start, the boot, forks, the end.

What is called for a fork or from the parked thread never raises into the program and
never prints. Standard library only. Imported when it is first needed: a program that is
never looked at and never forks does without.
"""

import _signal
import os
import sys
from time import monotonic, sleep

from . import folders, listener, settings
from .listener import BOOTING, CLOSED, PARKED, Listener, note

# How long a fork may wait for us, in seconds: for the parked thread to be gone, and for
# the one import that a boot is in the middle of.
LONGEST_STOP = 0.5
LONGEST_IMPORT = 5.0


def open_unusually(self: Listener) -> None:
    """Open where the environment, or what is wrong with a folder, makes us.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    chosen = settings.from_environment()
    for text in chosen.notes:
        note(text)
    self.bind(folders.socket_dir() if chosen.transport == "ipc" else "")
    if chosen.transport == "tcp":
        from . import curve

        if curve.supported_here():
            self.info["curve_publickey"], self.info["curve_secretkey"] = curve.keypair()
    try:
        runtime = folders.runtime_dir(os.environ, sys.platform)
        self.write_file(folders.own_folder(runtime))
    except OSError as error:
        fallback = folders.private_temporary_dir()
        note(f"no connection file in Jupyter's folder, using {fallback}", error)
        self.write_file(fallback)
    self.park()


def is_eager(self: Listener) -> bool:
    """Tell whether the kernel is to boot without waiting for a client."""
    return settings.from_environment().eager


def leave_alone(serve_children: bool) -> None:
    """This program gets no console: forget what the process left before an exec.

    Args:
        serve_children: whether the processes that it forks get one.
    """
    try:
        folder = folders.runtime_dir(os.environ, sys.platform)
        listener.remove_file(os.path.join(folder, listener.file_name(os.getpid())))
    except OSError:
        pass
    if serve_children:
        listener.opens_in_children = True
        listener.hook()


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
            os.close(fd)
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


# -- the boot --------------------------------------------------------------------------


def boot(self: Listener) -> None:
    """Hand over to the kernel; if that fails, tell who rang, and the debug log."""
    try:
        for channel, fd in list(self.sockets.items()):
            if not _is_ours(self, fd):  # the program closed it: anew, at the same address
                del self.identity[fd]
                self.listen(channel)
        with self.gate:
            from .kernel import boot
        boot.launch(self)
    except BaseException as error:  # protects the program: the console's fault ends here
        boot_failed(self, error)


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
    if self is not None:
        if self.state == PARKED and not _unpark(self):
            note("forking beside a thread that did not stop")
        if self.state == BOOTING:
            self.gate.acquire(timeout=LONGEST_IMPORT)
    return self


def _unpark(self: Listener) -> bool:
    """Stop the parked thread; tell whether it is gone (it may just have been rung).

    Returns when the OS thread is no more, not only the Python one: ``os.fork`` counts OS
    threads and warns (Python 3.12 and later).
    """
    if self.pipe is None or not _is_ours(self, self.pipe[1]):
        return False
    os.write(self.pipe[1], b"x")
    deadline = monotonic() + LONGEST_STOP
    if not self.gone.acquire(timeout=LONGEST_STOP) or self.state != PARKED:
        return False
    os.read(self.pipe[0], 1)
    task = f"/proc/self/task/{self.thread_id}"
    while os.path.exists(task) and monotonic() < deadline:
        sleep(0.00002)
    return True


def after_fork_in_parent(self: Listener | None) -> Listener | None:
    """Wait for connections again."""
    if self is not None:
        if self.state == PARKED:
            self.park()
        elif self.gate.locked():
            self.gate.release()
    return self


def after_fork_in_child(self: Listener | None) -> Listener | None:
    """Start clean: none of the parent's sockets; a file, key and thread of our own.

    Args:
        self: the parent's listener, as the child inherited it.

    Returns:
        The child's.

    Raises:
        OSError, RuntimeError: see :meth:`rtconsole.listener.Listener.open`.
    """
    if self is None:
        fresh = Listener("multiprocessing") if listener.opens_in_children else None
    else:
        if self.kernel is not None:
            if self.kernel.runs_cells_here() and self.signal_mask is not None:
                # a cell forked: the child's only thread is ours, which blocks all signals
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self.signal_mask)
            self.kernel.abandon()
        _close_descriptors(self)
        fresh = Listener(self.label)
        fresh.scope = self.scope
    if fresh is not None:
        fresh.open()
    return fresh
