"""The interpreter's own threads, locks, clocks and sockets, whatever a program makes of them.

gevent and eventlet replace what waits, in the standard library's modules and in place, by what
switches to another greenlet: also for those who imported the modules before. A thread of ours
would become a greenlet, which waits in libzmq's C code and so stops all others of its thread;
its locks and identities would be the program's. So the console has instances of these modules
that nobody else knows: of a module in C a second one (PEP 489), of others one loaded again,
with an ``__import__`` that knows these instances. Nothing is asked of either library, nothing
that the program sees is changed, and it does not matter who came first.

Tests replace them, too (``mock.patch("threading.Thread")``), and so do profilers of locks and who
forbids sockets: for a while or for good.

Only where one of the two libraries is, or could be imported, or something is replaced: the copies
take some milliseconds. Standard library only.
"""

import _imp
import _thread
import builtins
import os
import sys
import types

from . import listener, replaced

TYPE_CHECKING = False  # until :func:`module_locks` is called no import is safe: make few
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

# What importlib has its names from. Not from importlib: if the program imports that at the same
# time, one of the two can be given a second copy.
_bootstrap: "Any" = sys.modules["_frozen_importlib"]
_external: "Any" = sys.modules["_frozen_importlib_external"]
BuiltinImporter, PathFinder = _bootstrap.BuiltinImporter, _external.PathFinder

LIBRARIES = ("gevent", "eventlet")

# What they replace something in, but for asyncio, which a cell must share with its loop (see
# :mod:`.kernel.loops`), and modules that only declare (signal, ssl); and what is made of these.
_IN_C = ("_thread", "time", "select")
_IN_PYTHON = (
    *("os", "threading", "_threading_local", "queue", "selectors", "socket", "subprocess", "pty"),
)
_ALIAS = "_rtconsole_native_"

# Where they patch; and how often, at most, and after how many seconds that is looked at.
_PATCHING = ("eventlet.patcher", "gevent.monkey", "gevent.monkey.api")
_MOST_LOOKS, _FEW_LOOKS, _LOOK = 400, 40, 0.005
_looks = 600  # likewise for imports, and what is left of them


def is_wanted() -> bool:
    """Tell whether the program has, or could have, its modules patched."""
    known = any(name in sys.modules or PathFinder.find_spec(name) for name in LIBRARIES)
    return known or replaced.are_some()


def are_made() -> bool:
    """Tell whether the kernel has instances of its own."""
    return _ALIAS + "threading" in sys.modules


def is_patched() -> bool:
    """Tell whether what the program takes for threads are greenlets."""
    return type(_thread.start_new_thread) is not types.BuiltinFunctionType


def modules(main_thread_id: int, main_native_id: int) -> "dict[str, types.ModuleType]":
    """Return our instances by the names of the modules; made once.

    Args:
        main_thread_id: what ``_thread.get_ident`` is in the program's main thread.
        main_native_id: likewise ``get_native_id``.

    Raises:
        ImportError: one of them cannot be loaded a second time.
    """
    is_new = not are_made()
    found = {name: module(name) for name in (*_IN_C, *_IN_PYTHON)}
    if is_new:
        set_main_thread(found["threading"], main_thread_id, main_native_id)
    return found


def module(name: str) -> types.ModuleType:
    """Return our instance of one module.

    Raises:
        ImportError: it cannot be loaded a second time.
    """
    alias = _ALIAS + name
    if alias not in sys.modules:
        # by that name, since `enum` looks for the module that it adds names to
        made = _made_in_c(name) if name in (*_IN_C, "fcntl") else _loaded(name, alias)
        sys.modules.setdefault(alias, made)
    return sys.modules[alias]


def fcntl() -> "Any":
    """Return ``fcntl``; a second one where the program has another, as who fakes a file system.

    That may tell of a duplicate where none is, by the number of a stream, which we would close.

    Raises:
        ImportError: there is none, on Windows.
    """
    found = __import__("fcntl")
    return found if type(found.fcntl) is types.BuiltinFunctionType else module("fcntl")


def _made_in_c(name: str) -> types.ModuleType:
    spec = BuiltinImporter.find_spec(name) or _find(name)
    # not importlib.util's, which imports threading in some versions: see kernel.boot
    made: types.ModuleType = vars(_bootstrap)["module_from_spec"](spec)
    if made is sys.modules.get(name):  # of an interpreter that has it in the old way
        raise ImportError(f"there is only one {name}")
    assert spec.loader is not None
    spec.loader.exec_module(made)
    return made


def _loaded(name: str, alias: str) -> types.ModuleType:
    spec = _find(name)
    loader: Any = spec.loader
    made = types.ModuleType(alias)
    vars(made).update(__file__=spec.origin, __builtins__={**vars(builtins), "__import__": _import})
    sys.modules[alias] = made
    try:
        exec(loader.get_code(name), vars(made))
    except BaseException:
        del sys.modules[alias]
        raise
    if name == "os":
        for shared in ("environ", "environb"):  # the process has one
            if hasattr(os, shared):
                setattr(made, shared, getattr(os, shared))
        vars(made)["waitpid"] = _waitpid
    return made


def _waitpid(pid: int, options: int) -> "tuple[int, int]":
    """Wait for a child that a cell has started; its status counts as 0 if it was taken from us.

    gevent waits for any child from when it first waits for one of its own (libev, ev_child).
    """
    try:
        return vars(listener.system)["waitpid"](pid, options)  # type: ignore[no-any-return]
    except ChildProcessError:
        if pid <= 0:
            raise
        return pid, 0


def _find(name: str) -> "ModuleSpec":
    """Find a module of the standard library, not one of that name beside the script."""
    folders = [os.path.dirname(os.__file__)]
    folders += [entry for entry in sys.path if os.path.basename(entry) in ("lib-dynload", "DLLs")]
    spec: ModuleSpec | None = PathFinder.find_spec(name, folders)
    if spec is None:
        raise ImportError(f"no {name} in {folders}")
    return spec


def _import(
    name: str,
    globals: "Any" = None,
    locals: "Any" = None,
    fromlist: "Any" = (),
    level: int = 0,
) -> "Any":
    """``__import__`` of these modules."""
    if level == 0 and name in (*_IN_C, *_IN_PYTHON):
        return module(name)
    return builtins.__import__(name, globals, locals, fromlist, level)


class module_locks:  # a context manager, and contextlib is not imported here
    """Lock modules that are imported in the with block with locks of the interpreter's own.

    The import system's locks ask ``_thread`` who holds them. A program that patches it while
    one of our threads imports would make that one fail to release, and whoever else needs the
    module wait for ever; and gevent gives all such locks that are held to the main thread,
    which would be let into modules that are half there. eventlet, patching, imports with the
    lock held that guards the list of these locks, and would wait for us and we for it.

    So meanwhile the import system uses copies of its own functions that know other locks. The
    program's threads take both guards of that list, whichever version they are in; ours take
    the new one alone. In a program that is patched already nothing is done: its greenlets may
    wait for each other's imports.
    """

    _entered: "list[int]" = []  # noqa: RUF012  # the threads in such blocks

    def __init__(self, needed: bool) -> None:
        self._needed = needed
        self._thread = 0

    def __enter__(self) -> None:
        if not self._needed or is_patched():
            return
        self._thread = module("_thread").get_ident()
        self._entered.append(self._thread)
        if not _ours:
            _ours.update(_native_locks())
        vars(_bootstrap).update(_ours)
        for _ in range(_MOST_LOOKS):  # who is in an original is not kept out by our guard
            if not _somebody_is_in(_originals):
                break
            sleep(_LOOK)

    def __exit__(self, *_: object) -> None:
        if self._thread in self._entered:
            self._entered.remove(self._thread)
            if not self._entered:
                vars(_bootstrap).update(_originals)


def after_fork_in_child() -> None:
    """Lock modules as ever: the thread that was in the with block, and held locks, is not here."""
    module_locks._entered.clear()
    vars(_bootstrap).update(_originals)
    _ours.clear()


# What of the import system (importlib/_bootstrap.py) takes locks.
_originals = {name: vars(_bootstrap)[name] for name in ("_get_module_lock", "_ImportLockContext")}
_ours: "dict[str, Any]" = {}


class _Guard:
    """In place of ``_imp``, whose lock guards the list of the modules' locks."""

    def __init__(self, thread: "Any") -> None:
        self._ident, self._own = thread.get_ident, thread.RLock()

    def acquire_lock(self) -> None:
        if self._ident() not in module_locks._entered:
            _imp.acquire_lock()
        self._own.acquire()

    def release_lock(self) -> None:
        self._own.release()
        if self._ident() not in module_locks._entered:
            _imp.release_lock()


def _native_locks() -> "dict[str, Any]":
    """Return copies of ``_originals`` that make and take locks of ours."""
    thread = module("_thread")
    scope = {**vars(_bootstrap), "_thread": thread, "_imp": _Guard(thread)}

    def copied(original: "Any") -> "Any":
        if type(original) is types.FunctionType:
            return types.FunctionType(
                original.__code__, scope, original.__name__, original.__defaults__
            )
        methods = {k: copied(v) for k, v in vars(original).items() if type(v) is types.FunctionType}
        return type(original.__name__, (), methods)

    scope["_ModuleLock"] = copied(scope["_ModuleLock"])
    return {name: copied(original) for name, original in _originals.items()}


def _somebody_is_in(functions: "dict[str, Any]") -> bool:
    """Tell whether another thread executes one of these functions, or a method of these classes."""
    found = [vars(one) if isinstance(one, type) else {"": one} for one in functions.values()]
    codes = [getattr(one, "__code__", None) for names in found for one in names.values()]
    for ident, frame in frames().items():
        if ident in module_locks._entered:
            continue
        while frame is not None:
            # the copies have the same code
            if frame.f_code in codes and frame.f_globals is vars(_bootstrap):
                return True
            frame = frame.f_back  # type: ignore[assignment]
    return False


def frames() -> "dict[int, types.FrameType]":
    """Return the innermost frame of each thread, or of those whose frames can be followed.

    See :func:`rtconsole.forks.of_this_process`. Until Python 3.12 even the innermost frame of a
    thread that is not here is found through its stack. Nothing beside an interpreter that runs
    under a lock of its own (PEP 684): its threads are among those that are looked at, and objects
    made of their frames, by which memory is overrun.
    """
    if sys.version_info >= (3, 12) and has_other_locks():
        return {}
    # not imported here: what makes locks is imported after `early` was asked
    if not getattr(sys.modules.get("rtconsole.forks"), "has_dead_frames", False):
        return sys._current_frames()
    own, opened = vars(listener)["get_ident"](), listener.current
    found = sys._current_frames() if sys.version_info >= (3, 13) else {}
    alive = {own, opened.main_thread_id if opened is not None else own}
    return {**{ident: found[ident] for ident in alive & found.keys()}, own: sys._getframe(1)}


def wait_while_importing() -> None:
    """Wait until no thread of the program is in an import; in all for some seconds at most.

    A program may never come out of one: one that is run by being imported.

    Raises:
        RuntimeError: the program pretends to be on another system, and goes on to.
    """
    global _looks
    own = vars(listener)["get_ident"]()  # imported before anybody replaced it
    while _looks and _somebody_imports(own):
        _looks -= 1
        sleep(_LOOK)
    for _ in range(_FEW_LOOKS):
        if not replaced.is_disguised():
            return
        sleep(_LOOK)
    raise RuntimeError("the program has replaced os.name or sys.platform")


def _somebody_imports(own: int) -> bool:
    """Tell whether another thread holds the lock of a module.

    The frames would tell it too, but cannot always be had: see :func:`frames`.
    """
    locks = [reference() for reference in list(vars(_bootstrap)["_module_locks"].values())]
    return any(lock is not None and lock.owner not in (None, own) for lock in locks)


def wait_while_patching(main_thread_id: int) -> None:
    """Wait until the main thread is not just about patching: eventlet changes ``sys.modules``."""
    for _ in range(_MOST_LOOKS):
        frame = frames().get(main_thread_id)
        while frame is not None and frame.f_globals.get("__name__") not in _PATCHING:
            frame = frame.f_back
        if frame is None:
            return
        del frame
        sleep(_LOOK)


def has_other_locks() -> bool:
    """Tell whether another interpreter of this process has a lock of its own. Imports, once."""
    try:
        if sys.version_info < (3, 13):  # it does not tell whose lock they use
            return len(__import__("_xxsubinterpreters").list_all()) > 1
        known = __import__("_interpreters")
        own, *_ = known.get_current()
        others = [one[0] for one in known.list_all() if one[0] != own]
        return any(known.get_config(other).gil == "own" for other in others)
    except (ImportError, AttributeError):  # a Python without them has none
        return False
    except Exception:  # protects the program: one of them has just ended, say
        return True


def early() -> "dict[str, Any]":
    """Return what :mod:`.listener` imports by name when the program starts."""
    names = ("allocate_lock", "get_ident", "start_new_thread", "POLLIN", "poll")
    made = [*map(module, _IN_C)]
    return {name: getattr(one, name) for name in names for one in made if hasattr(one, name)}


def sleep(seconds: float) -> None:
    """Sleep, and let no greenlet run in this thread meanwhile."""
    found = sys.modules["time"].sleep
    if type(found) is not types.BuiltinFunctionType:  # replaced
        found = module("time").sleep
    found(seconds)


def set_main_thread(threading: "Any", ident: int, native_id: int) -> None:
    """Put right which one is the main thread in a ``threading`` imported in another.

    Until Python 3.12 that is the thread which imports it.

    Args:
        ident: of the main thread.
        native_id: likewise, the system's.
    """
    main: Any = threading.main_thread()
    if sys.version_info >= (3, 13):
        # Its ident is the main thread's; its native id still is the importing one's.
        main._native_id = native_id
        return
    if main.ident == ident:
        return
    del threading._active[main.ident]
    main._ident = ident
    if hasattr(main, "_native_id"):
        main._native_id = native_id
    threading._active[ident] = main
    # The lock that is released at the main thread's end is bound to this one: replaced
    # by one that, like it, is held until `threading._shutdown` releases it.
    threading._shutdown_locks.discard(main._tstate_lock)
    main._tstate_lock = threading._allocate_lock()
    main._tstate_lock.acquire()
    threading._shutdown_locks.add(main._tstate_lock)
