"""Processes that a cell starts: with the program's signal mask, not with that of our thread.

Our threads block all signals, and a process inherits the mask of the thread that starts it: it
could not be terminated, nor end by SIGPIPE. To unblock one for the moment of the start is a
way only where nobody waits for a signal (:mod:`.masks`): one that the program blocks, to wait for
it with ``sigwait``, may be pending, and would be delivered to our thread at once. So the mask is
set in the new process, by posix_spawn(3).

``_posixsubprocess.fork_exec``, below ``subprocess`` and ``multiprocessing``, has no argument for
it, and ``os.posix_spawn`` none for the working folder: so this is the former by way of the
C library's ``posix_spawn``. It raises at once what the former tells through a pipe.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rtconsole import native
from rtconsole.recorder import hide_frame

from . import cell
from .foreign import ctypes
from .masks import Signals

# spawn.h of glibc and musl, which agree; and room for what the two keep in their structures.
_SETPGROUP, _SETSIGDEF, _SETSIGMASK, _SETSID = 0x02, 0x04, 0x08, 0x80
_ROOM = 1024
_SIGNALS = 1024  # bits of a sigset_t

# As Popen's restore_signals: those that Python ignores.
_RESTORED = [signal.SIGPIPE, signal.SIGXFSZ] if os.name == "posix" else []


class Spawning:
    """Routers for what starts processes: for a cell with a mask, for all others the original.

    Attributes:
        routes: owner, name and maker of a router of each (see :class:`.cell.Routes`).
    """

    def __init__(self, signals: Signals) -> None:
        """
        Args:
            signals: the program's; the new processes block what it did at its start.
        """
        self._signals = signals
        self._mask = signals.at_start
        self.routes: list[tuple[Any, str, Callable[[Any], Any]]] = []
        if os.name != "posix":
            return
        # The program's and ours, which may be others (see rtconsole.native): IPython starts by
        # ours what a cell does, and so does `call_shell`.
        posix, popen, in_c = map(import_module, ("os", "subprocess", "_posixsubprocess"))
        for one in {posix, os}:
            self.routes.append((one, "system", self._system))
            if hasattr(os, "posix_spawn"):
                self.routes.append((one, "posix_spawn", self._posix_spawn))
                self.routes.append((one, "posix_spawnp", self._posix_spawn))
        if sys.platform == "linux":
            self.routes.append((in_c, "fork_exec", self._fork_exec))
            self.routes += [(one, "_fork_exec", self._fork_exec) for one in {popen, subprocess}]

    def _system(self, original: Callable[[Any], int]) -> Callable[[Any], int]:
        def system(command: Any) -> int:
            try:
                return original(command) if cell.running() is None else call_shell(command)
            except BaseException as error:
                hide_frame(error)
                raise

        return system

    def _posix_spawn(self, original: Callable[..., int]) -> Callable[..., int]:
        def posix_spawn(*arguments: Any, **options: Any) -> int:
            try:
                if cell.running() is not None:
                    options.setdefault("setsigmask", self._mask)
                return original(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise

        return posix_spawn

    def _fork_exec(self, original: Callable[..., int]) -> Callable[..., int]:
        def fork_exec(*arguments: Any) -> int:
            try:
                if cell.running() is None:
                    return original(*arguments)
                with cell.uninterrupted():
                    if _is_plain(arguments):
                        return spawn(self._mask, *arguments[:17])
                    with self._signals.as_the_programs():
                        return original(*arguments)
            except BaseException as error:
                hide_frame(error)
                raise

        return fork_exec


def call_shell(command: Any) -> int:
    """As ``os.system``, which would have the whole process ignore SIGINT and SIGQUIT meanwhile."""
    sys.audit("os.system", command)
    status = subprocess.call([b"/bin/sh", b"-c", os.fsencode(command)], close_fds=False)
    return -status if status < 0 else status << 8


def _is_plain(arguments: tuple[Any, ...]) -> bool:
    """Tell whether all that ``fork_exec`` is asked for can be had of ``posix_spawn``.

    That is no other user, groups, umask, and no function to be called: before such a one our
    at-fork handler sets the mask.
    """
    if len(arguments) < 22:
        return False
    gid, groups, uid, umask, function = arguments[17:22]
    return (gid, groups, uid, function) == (None,) * 4 and umask < 0 and _library() is not None


_c: list[Any] = []


def _library() -> Any:
    """Return the C library; ``None`` if it is too old (glibc 2.29, musl 1.1.24)."""
    if not _c:
        try:
            library: Any = ctypes.CDLL(None)
            _c.append(library if hasattr(library, f"{_ACTIONS}_addchdir_np") else None)
        except Exception:  # an audit hook that forbids it
            return None
    return _c[0]


_ACTIONS = "posix_spawn_file_actions"


def spawn(
    mask: Collection[int],
    args: list[Any],
    executables: Collection[bytes],
    close_fds: bool,
    kept: Collection[int],
    cwd: Any,
    env: list[bytes] | None,
    p2cread: int,
    p2cwrite: int,
    c2pread: int,
    c2pwrite: int,
    errread: int,
    errwrite: int,
    errpipe_read: int,
    errpipe_write: int,
    restore_signals: bool,
    start_new_session: bool,
    process_group: int,
) -> int:
    """As ``_posixsubprocess.fork_exec``, with the arguments of the same names, and a mask.

    Raises:
        OSError: none of the executables could be started, or there is no such ``cwd``.
    """
    words = [os.fsencode(word) for word in args]
    kept = set(kept) - {errpipe_write}
    with _structures() as (actions, attributes), _above(2, p2cread, c2pwrite, errwrite) as ends:

        def act(name: str, *arguments: Any) -> None:
            _check(getattr(_library(), f"{_ACTIONS}_add{name}")(actions, *arguments))

        for number, end in enumerate(ends):
            if end >= 0:
                act("dup2", end, number)
        for fd in kept:
            act("dup2", fd, fd)  # which makes it inheritable
        if cwd is not None:
            act("chdir_np", os.fsencode(cwd))
        if close_fds:
            _close_others(act, kept)
        _set(attributes, mask, restore_signals, start_new_session, process_group)
        variables = _vector(env) if env is not None else _environment()
        first_error = error = 0
        for executable in executables:
            pid = ctypes.c_int()
            error = _library().posix_spawn(
                ctypes.byref(pid), executable, actions, attributes, _vector(words), variables
            )
            if not error:
                return int(pid.value)
            if not isinstance(OSError(error, ""), FileNotFoundError | NotADirectoryError):
                first_error = first_error or error
    number = first_error or error
    if cwd is not None and not os.path.isdir(cwd):
        raise OSError(number, os.strerror(number), cwd)
    path = next(iter(executables), b"")
    searched = os.path.dirname(words[0]) == b"" and words[0] == os.path.basename(path)
    raise OSError(number, os.strerror(number), args[0] if searched else os.fsdecode(path))


@contextmanager
def _structures() -> Iterator[tuple[Any, Any]]:
    actions, attributes = ctypes.create_string_buffer(_ROOM), ctypes.create_string_buffer(_ROOM)
    library = _library()
    _check(library.posix_spawn_file_actions_init(actions))
    try:
        _check(library.posix_spawnattr_init(attributes))
        try:
            yield actions, attributes
        finally:
            library.posix_spawnattr_destroy(attributes)
    finally:
        library.posix_spawn_file_actions_destroy(actions)


@contextmanager
def _above(highest: int, *fds: int) -> Iterator[list[int]]:
    """Give duplicates in place of descriptors that a standard stream would be put over."""
    fcntl = native.fcntl()

    moved: list[int] = []
    try:
        found = []
        for number, fd in enumerate(fds):
            if 0 <= fd <= highest and fd != number:
                fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, highest + 1)
                moved.append(fd)
            found.append(fd)
        yield found
    finally:
        for fd in moved:
            os.close(fd)


def _close_others(act: Callable[..., None], kept: set[int]) -> None:
    """Have all descriptors above 2 closed, but for some."""
    beyond = max({2, *kept}) + 1
    closes_all = hasattr(_library(), f"{_ACTIONS}_addclosefrom_np")  # glibc 2.34
    if closes_all:
        others = set(range(3, beyond))
    else:
        others = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    for fd in others - kept:
        act("close", fd)
    if closes_all:
        act("closefrom_np", beyond)


def _set(
    attributes: Any,
    mask: Collection[int],
    restore_signals: bool,
    start_new_session: bool,
    process_group: int,
) -> None:
    library, flags = _library(), _SETSIGMASK
    _check(library.posix_spawnattr_setsigmask(attributes, _signals(mask)))
    if restore_signals:
        flags |= _SETSIGDEF
        _check(library.posix_spawnattr_setsigdefault(attributes, _signals(_RESTORED)))
    if start_new_session:
        flags |= _SETSID
    if process_group >= 0:
        flags |= _SETPGROUP
        _check(library.posix_spawnattr_setpgroup(attributes, process_group))
    _check(library.posix_spawnattr_setflags(attributes, ctypes.c_short(flags)))


def _signals(numbers: Collection[int]) -> Any:
    """Return a sigset_t."""
    width = 8 * ctypes.sizeof(ctypes.c_ulong)
    words = (ctypes.c_ulong * (_SIGNALS // width))()
    for number in numbers:
        words[(number - 1) // width] |= 1 << (number - 1) % width
    return words


def _vector(words: list[bytes]) -> Any:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _environment() -> Any:
    return ctypes.c_void_p.in_dll(_library(), "environ")


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def routes(signals: Signals) -> list[tuple[Any, str, Callable[[Any], Any]]]:
    """Return what :class:`.cell.Routes` is to replace."""
    return Spawning(signals).routes
