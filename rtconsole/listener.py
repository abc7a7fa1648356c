"""Dormant until somebody connects: five bound sockets and one parked thread.

The sockets are made here with the standard library, so that a program that is never
looked at never imports zmq. On the first connection the kernel boots and takes over
these very sockets (ZMQ_USE_FD); who rang waits in the backlog and is served.

The parked thread must be invisible to the program: it owns no lock, blocks all signals (one
that the program waits for with sigwait must not be handed to us), is unknown to ``threading``,
has no frame (a child that C forks keeps it, not the stack that it leads to), is gone in forks.

Standard library only, and of that only C modules: at start-up each function costs, and each
module a hundredth of the start. So what comes later, if at all, is in :mod:`.lifecycle`.
"""

import _signal
import _socket
import atexit
import os
import sys
import time
from _thread import allocate_lock, get_ident, get_native_id, stack_size, start_new_thread
from builtins import any, iter, map  # noqa: UP029  # now: a test may replace them, and fork

from . import STACK, __version__

try:
    from select import POLLIN, poll  # now: gevent and eventlet put theirs in place or none
except ImportError:  # Windows
    pass
system, POSIX, PLATFORM = sys.modules[os.name], os.name == "posix", sys.platform  # likewise

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
file_name = "kernel-rt-{}.json".format  # by the pid: ``--existing 4242`` matches it

# resting: parked without a thread, while the program forks. And "running", "refusing".
PARKED, RESTING, BOOTING, CLOSED = "parked", "resting", "booting", "closed"


class Listener:
    """The console of this process, from bound sockets to a running kernel."""

    def __init__(self, label: str) -> None:
        self.label = label  # what a person calls the program
        self.folders: tuple[str, str] | None = None  # of file and sockets, if the usual ones
        self.state, self.connection_file = CLOSED, ""  # its path, while there is one
        self.info: dict[str, Any] = {}  # what it says: who reads that can run code here
        self.sockets: dict[str, int] = {}  # listening descriptor of each channel
        self.identity: dict[int, tuple[int, int]] = {}  # device and inode: see `own`
        self.poll: Any = None  # what the parked thread waits with
        self.pipe: Any = None  # its two ends; stops the parked thread
        self.nudge = self.started = self.gone = allocate_lock()  # likewise; as it begins; ends
        self.thread_id, self.stops_late = 0, False  # its native id; a fork could not wait for it
        self.lost, self.renews_at = False, 0.0  # of these the program closed some: see renewal
        self.main_thread_id, self.main_native_id = get_ident(), get_native_id()
        self.signal_mask: Any = None  # of the main thread, when this began
        self.gate, self.gate_taken = allocate_lock(), False  # around a boot's imports; by forks
        self.scope: Any = None  # a cell's names: kernel.namespace.Scope, None for __main__
        self.kernel: Any = None  # the running one

    def open(self) -> None:
        """Bind the sockets, write the file, park the thread; or nothing: OSError, RuntimeError."""
        try:
            if POSIX and 0 <= system.sysconf("SC_OPEN_MAX") < 64:
                raise OSError("descriptors are scarce (RLIMIT_NOFILE); the program needs them")
            if self.folders is None:  # a child is given its parent's
                self.folders = sys.modules["rtconsole"].usual_folders()
            if self.folders:
                self.bind(self.folders[1])
                self.write_file(self.folders[0])
                self.park()
            else:
                _later("open_unusually", self)
        except BaseException:
            _later("undo", self)
            raise

    def bind(self, folder: str) -> None:
        """Bind all sockets: Unix sockets in ``folder``, loopback TCP if it is empty."""
        pid = system.getpid()
        info = self.info = {
            "transport": "ipc" if folder else "tcp",
            "ip": f"{folder}/{pid}" if folder else "127.0.0.1",  # Unix sockets are <ip>-<port>
            "signature_scheme": "hmac-sha256",
            "key": system.urandom(32).hex(),
            "kernel_name": f"{self.label} ({pid})",
        }
        for number, channel in enumerate(CHANNELS, start=1):
            info[f"{channel}_port"] = number if folder else 0
            self.listen(channel)

    def listen(self, channel: str) -> None:
        """Bind and listen on ``channel``'s address; port 0 becomes one the system picks."""
        if (info := self.info)["transport"] == "tcp":
            sock = _later("tcp_socket", self, channel)
        else:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            sock.setblocking(False)
            tried(lambda: system.fchmod(sock.fileno(), 0o600), None)  # the name's, too, on Linux
            address = f"{info['ip']}-{info[f'{channel}_port']}"
            try:
                sock.bind(address)
                sock.listen(512)
                self.sockets[channel] = sock.fileno()  # for lifecycle.undo
            except OSError:  # somebody has that name, or had it
                _later("bind_anyway", self, sock, channel)
            except BaseException:  # a signal's handler raised: nobody knows of the name yet
                sock.close()
                unlink(address)
                raise
        # not the object, whose end would close what by then may be the program's file
        self.sockets[channel] = self.own(sock.detach())

    def own(self, fd: int) -> int:
        """Note whose ``fd`` is: a daemon may close it, and be given the number again."""
        if fd < 3 or not POSIX:  # it was closed at the start, and is to stay closed
            return int(_later("far_up", self, (fd,))[0])
        self.identity[fd] = system.fstat(fd)[2:0:-1]
        return fd

    def has(self, fd: int) -> bool:
        """Tell whether ``fd`` still is what we opened."""
        return bool(tried(lambda: system.stat(fd)[2:0:-1], 0) == self.identity.get(fd))

    def write_file(self, folder: str) -> None:
        """Write the connection file into ``folder``."""
        from . import count_filters, create_time, pid_namespace

        self.filters = count_filters()  # of system calls: see lifecycle.is_confined
        self.info["rtconsole"] = {
            "status": "dormant    0",  # the kernel overwrites these bytes: kernel.status
            "version": __version__,
            "pid_namespace": pid_namespace(),  # this and the next two tell whose file it is
            "machine": _socket.gethostname(),
            "pid": (pid := system.getpid()),
            "create_time": create_time(),
            "argv": sys.orig_argv,
            "cwd": tried(system.getcwd, None),
            "python": sys.version.partition(" ")[0],
            "executable": sys.executable,
        }
        self.connection_file = write_file(folder, file_name(pid), self.info)

    def forget_file(self) -> None:
        """Remove the connection file and the sockets' names, so that nobody finds them."""
        folder, _, name = self.connection_file.rpartition("/")
        for path in (f"{folder}/{name}", f"{folder}/external_kernels/{name}") if name else ():
            unlink(path)
        self.connection_file = ""
        if self.info.get("transport") == "ipc":
            for channel in self.sockets:
                unlink(f"{self.info['ip']}-{self.info[f'{channel}_port']}")

    def park(self) -> None:
        """Start the thread that waits for a connection, with all signals blocked."""
        if not POSIX:
            _later("park_without_signals", self)
            return
        # Blocked, and so in the thread; nor does a handler of the program run amid this, and fork.
        mask = block_signals()
        try:
            self.signal_mask = mask if self.signal_mask is None else self.signal_mask
            self.pipe = self.pipe or tuple([self.own(fd) for fd in system.pipe()])
            self.gone, self.nudge, self.started = allocate_lock(), allocate_lock(), allocate_lock()
            for lock in (self.gone, self.nudge, self.started):
                lock.acquire()
            self.state, self.poll = PARKED, poll()
            fds = *self.sockets.values(), self.pipe[0]
            for fd in filter(self.has if self.lost else None, fds):
                self.poll.register(fd, POLLIN)
            size = stack_size(STACK)  # whatever the program gives its own: it imports a lot
            start_new_thread(any, (self,))
            stack_size(size)
            self.started.acquire()  # an interpreter that ends before may crash (Python 3.11.2)
        except RuntimeError:
            self.state = RESTING
            stack_size(size)
            raise
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)

    def __iter__(self) -> "Any":
        """Begin the parked thread: ``any`` over what this returns, which waits in C alone."""
        self.thread_id, rings = get_native_id(), iter(self.poll.poll, None)
        if self.lost or "RTCONSOLE_EAGER" in os.environ:
            rings = _later("asked_first", self, rings)
        self.started.release()
        return map(self._woken, rings)

    def _woken(self, ready: "Any") -> bool:
        """Do what the parked thread woke up for; false if it is to wait on."""
        try:
            with self.gate:  # for ever while the interpreter ends: an import may crash it
                _later("rung", self, ready)
            if not _later("is_over", self, ready):
                return False
            if self.state == BOOTING:
                _later("boot", self)
        except Exception as error:  # protects the program: after chroot() there is no such file
            if tried(lambda: __import__("rtconsole.stale").stale.tell(self, ready), 0, Exception):
                return False
            tried(lambda why=error: self.give_up(why), None, Exception)
        return True

    def give_up(self, error: Exception) -> None:
        """Close where nothing can be imported any more; a fork would warn of the parked thread."""
        note("no console any more", error)
        self.state = CLOSED
        task, deadline = f"/proc/self/task/{self.thread_id}", time.monotonic() + 0.5
        if get_native_id() != self.thread_id and self.has(self.pipe[1]):
            system.write(self.pipe[1], b"x")
            while tried(lambda: system.stat(task), None) and time.monotonic() < deadline:
                system.sched_yield()
        self.forget_file()
        for fd in filter(self.has, self.identity):  # else who rang would wait for ever
            system.close(fd)


def _later(what: str, self: "Listener | None", *arguments: "Any") -> "Any":
    """Call a function of :mod:`.lifecycle`, imported once: in a fork an import costs dearly."""
    global _lifecycle
    if _lifecycle is None:
        _lifecycle = sys.modules["rtconsole"].load_lifecycle()
    return getattr(_lifecycle, what)(self, *arguments)


def note(message: str, error: "BaseException | None" = None) -> None:
    """Tell the debug log, if the program lets us import it; without one nothing is imported."""
    if tried(lambda: os.environ.get("RTCONSOLE_DEBUG"), None, Exception):
        log = tried(lambda: __import__("rtconsole.debuglog").debuglog, None, Exception)
        log and log.note(message, error)


def tried(ask: "Any", otherwise: "Any", error: "type[BaseException]" = OSError) -> "Any":
    """Return what ``ask`` does, or something else if that fails."""
    try:
        return ask()
    except error:
        return otherwise


def write_file(folder: str, name: str, info: "dict[str, Any]") -> str:
    """Write ``info`` as ``folder/name``, 0600 under any umask; return its path. Raises OSError."""
    from . import dumps, is_own_folder

    temporary = f"{folder}/.{name}.{info['rtconsole']['pid_namespace']}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = system.open(temporary, flags, 0o600)
    except FileExistsError:  # of a dead process with our pid
        unlink(temporary)
        fd = system.open(temporary, flags, 0o600)
    try:
        if system.fstat(fd).st_mode & 0o777 != 0o600:  # the umask has taken bits away
            system.chmod(temporary, 0o600)
        if system.write(fd, data := (dumps(info) + "\n").encode()) < len(data):
            raise OSError("the disk is full")
        try:
            system.link(temporary, f"{folder}/{name}")
        except OSError:  # taken, by a container's process with our pid, say
            name = _later("rename_anyway", None, temporary, folder, name)
    finally:
        system.close(fd)
        unlink(temporary)
    try:  # for JupyterLab's list (ServerApp.external_connection_dir)
        lab = f"{folder}/external_kernels"
        system.link(f"{folder}/{name}", f"{lab}/{name}" if is_own_folder(lab, 0o022) else "")
    except OSError:
        _later("link_anyway", None, folder, name)
    return f"{folder}/{name}"


def unlink(path: str) -> None:
    """Remove a file, if it can be."""
    tried(lambda: system.unlink(path), None)


current: "Listener | None" = None  # of this process
_lifecycle: "Any" = None
_hooked = opens_in_children = False  # the latter in a fork server, which has no console itself


def start(label: str) -> Listener:
    """Open this process's listener. Raises what :meth:`Listener.open` does."""
    global current
    opened = Listener(label)
    try:
        opened.open()
        current = opened
        hook()
    except BaseException:  # a signal's handler may raise amid any of it
        _later("undo", opened)
        raise
    note(f"console at {opened.connection_file}")
    return opened


def hook() -> None:
    """Register for fork and exit, once: neither can be undone, and children inherit both."""
    global _hooked
    if _hooked:
        return
    at_exit(_at_exit)  # twice would do no harm
    register: Any = getattr(os, "register_at_fork", dict)
    _hooked = True  # no signal's handler is called until the next has been
    register(
        before=lambda: at_fork("before"),
        after_in_parent=lambda: at_fork("after in parent"),
        after_in_child=lambda: at_fork("after in child"),
    )


def at_fork(phase: str) -> None:
    """Do a phase of a fork; no signal is handled amid it: see :mod:`.signals`."""
    mask = None if "after" in phase else tried(block_signals, None, BaseException)
    try:
        _later("at_fork", None, phase, mask)
    except Exception as error:  # protects the program's fork
        if mask is not None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        note(f"fork, {phase}", error)
        found = current if current and current.state in (PARKED, "refusing") else None
        if found and found.info["rtconsole"]["pid"] == system.getpid():  # after setuid(), say
            found.give_up(error)


def block_signals(all_of_them: bool = True) -> "Any":
    """Block all here, or what has a handler; return the mask. Or none: raise what one raises."""
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    blocked = _signal.valid_signals()
    if not all_of_them:
        blocked = mask.union([n for n in blocked if callable(_signal.getsignal(n))])
    try:  # handlers are called by the next, once it has blocked them
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    except BaseException:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        raise
    return mask


def at_exit(act: "Any") -> None:
    """Have ``act`` called at the program's end: see :func:`undisturbed`."""
    next(end := undisturbed(act))
    atexit.register(any, end)  # goes on with it, in C


def undisturbed(act: "Any") -> "Any":
    """Call ``act``, when C goes on with this; no handler of the program's is called amid it.

    Who goes on in a ``yield from`` looks for no signals (RESUME 2): what came just before is seen
    to in the ``try``, as mostly by nobody without us. What comes later is tripped at the end.
    """
    mask, trips = None, ()
    yield from (None,)
    try:
        try:
            try:
                mask = tried(lambda: block_signals(False), None, AttributeError)  # Windows
            except BaseException:
                mask = tried(lambda: block_signals(False), None, AttributeError)
            act()
        except BaseException as error:  # another thread took a signal, say
            if mask is None:
                mask = tried(lambda: block_signals(False), None, BaseException)
            act()
            note("at exit", error)
        finally:
            if mask is not None:
                if pending := _signal.sigpending() - mask:
                    trips = tried(lambda: _later("deferred", None, pending), (), BaseException)
                _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    except BaseException:  # protects the program's exit
        pass
    yield from trips


def _at_exit() -> None:
    """Remove the files; the process's end takes the rest with it, if it ends."""
    opened = current or getattr(_lifecycle, "leaving", None)
    if opened is not None and opened.info["rtconsole"]["pid"] == system.getpid():
        files, sockets = [p.rpartition("/")[0] for p in (opened.connection_file, opened.info["ip"])]
        program = tried(lambda: system.stat(system.readlink("/proc/self/exe"))[1:3], None)
        python = tried(lambda: system.stat(sys.executable)[1:3], None)
        if (again := not sys.orig_argv or program not in (None, python)) or STACK:
            _later("close_for_good", opened, again)  # again: Python may start once more
        stopped = opened.gate.acquire(False)
        if not stopped or opened.state not in (PARKED, RESTING):
            _later("end_boot", opened, stopped)
        opened.state, opened.scope = CLOSED, None
        opened.forget_file()
        if opened.kernel is not None:
            opened.kernel.end()
        left = [n for path in (files, sockets) for n in tried(lambda p=path: system.listdir(p), ())]
        if files and any("kernel-rt-" in name or name.endswith("-1") for name in left):
            _later("sweep", None, files, sockets)  # of workers that were killed, perhaps
