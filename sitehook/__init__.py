"""What the interpreter runs at start-up: is RTCONSOLE on for this program? Then hand over.

It must never raise, print, or cost anything worth naming. It imports nothing but ``sys``
and ``os``, which are there already, until it knows that this program gets a console. All
in one module: at start-up the number of modules is what costs.
"""

import os
import sys

ON = ("1", "true", "yes", "on")
OFF = ("", "0", "false", "no", "off")

# Left alone unless RTCONSOLE_ONLY names them: packaging, where a console helps nobody;
# and the clients, since `jupyter console --existing` picks the newest connection file,
# which would be its own.
SKIPPED = (
    "pip",
    "__pip-runner__",
    "ensurepip",
    "venv",
    "rtconsole",
    "rtconsole-list",
    "jupyter-console",
    "jupyter-qtconsole",
    "jupyter-run",
)
JUPYTER_CLIENTS = ("console", "qtconsole", "run")
RESOURCE_TRACKERS = tuple(
    f"from {package}.resource_tracker import main"
    for package in ("multiprocessing", "loky.backend", "joblib.externals.loky.backend")
)
FORK_SERVER = "from multiprocessing.forkserver import main"
SPAWNED = "from multiprocessing.spawn import spawn_main"

_activated_pid = 0


def activate() -> None:
    """Start the dormant console if the environment asks for one; else do nothing.

    Called by ``rtconsole.pth``, ``rtconsole.start`` (PEP 829) or the modules in
    ``sitehook/path``; in a venv a ``.pth`` line runs twice (python/cpython#75723), and
    more than one of the three may be there: the first call in a process counts.
    """
    global _activated_pid
    try:
        if _activated_pid == os.getpid():
            return
        _activated_pid = os.getpid()
        if reason := off_because():
            if reason != "off":
                _note(reason)
            return
        if not is_main_interpreter():
            return
        if "RTCONSOLE_ENDED" in os.environ:  # C has ended an interpreter of this process before
            from rtconsole import unusual

            if reason := unusual.lives_again():
                _note(f"no console: {reason}")
                return
        kind, what, arguments = program(sys.orig_argv)
        if reason := skipped_because(kind, what, arguments):
            from rtconsole import lifecycle

            _note(f"no console for {label(kind, what)}: {reason}")
            lifecycle.leave_alone(serve_children=is_fork_server(what))
            return
        from rtconsole import listener

        opened = listener.start(label(kind, what))
        if not sys.orig_argv:  # C may never end it: PostgreSQL does not, with a process a session
            from rtconsole import lifecycle

            folders = map(os.path.dirname, (opened.connection_file, opened.info["ip"]))
            lifecycle.sweep(None, *folders)
    except (
        Exception,
        SystemExit,
    ) as error:  # protects the program's start
        _note("no console", error)
    except BaseException as error:  # a signal's handler raised: amid `site`, as without us
        if "rtconsole.listener" in sys.modules:
            from rtconsole import lifecycle

            lifecycle.stop()  # it may just have begun: who ends amid `site` calls no callbacks
        error.__traceback__ = error.__context__ = None
        raise


def off_because() -> "str | None":
    """Return why this process gets no console, ``"off"`` if nobody asked, ``None`` if it is on."""
    if sys.flags.ignore_environment:  # -E and -I: .pth files are run all the same
        return "off"
    value = os.environ.get("RTCONSOLE", "").strip().lower()
    if value in OFF:
        return "off"
    if value not in ON:
        return f"RTCONSOLE={value!r} is neither on ({', '.join(ON)}) nor off; taken as off"
    if hasattr(os, "getuid") and (os.getuid() != os.geteuid() or os.getgid() != os.getegid()):
        return "real and effective user or group differ; a privileged process gets no console"
    if not has_lock():
        return "Python without the interpreter lock gets no console: a fork may hang"
    return None


def has_lock() -> bool:
    """Tell whether this interpreter runs one thread at a time (else PEP 703).

    Without that, a child hangs where many threads fork at a time beside one that is parked: on 3.13
    nearly always, on 3.14 if the machine is busy. And what a kernel does between two bytecodes, so
    that nothing of the program's comes in between, does not hold.
    """
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())  # Python 3.13 and later


def is_main_interpreter() -> bool:
    """Tell whether this is not a sub-interpreter: the process's console is the main one's.

    A thread of ours in another would make the process abort at that interpreter's end
    (Py_EndInterpreter). Asked of the one module at hand that knows: only the main thread of
    the main interpreter, which this is if it is the main one, may handle signals.
    """
    import _signal

    try:
        _signal.signal(0, _signal.SIG_DFL)  # no signal: refused in any case
    except ValueError as error:
        return "main interpreter" not in str(error)
    return True


def program(orig_argv: "list[str]") -> "tuple[str, str, list[str]]":
    """Read the interpreter's own command line, since ``sys.argv`` may not be set yet.

    Follows https://docs.python.org/3/using/cmdline.html: -c and -m end the interpreter's
    options, -W and -X take a value, short options may be joined (``-bIm module``). An
    interpreter that C has started has no command line: the program that has it in it is named.

    Returns:
        What is run: its kind (``"script"``, ``"module"``, ``"command"`` for -c,
        ``"interactive"``); the script's path, the module's name or the command; and the
        program's own arguments.
    """
    if not orig_argv:
        return "script", _host(), []
    words = iter(orig_argv[1:])
    for word in words:
        if options_end := word == "--":
            word = next(words, "-")
        if word == "-":
            return "interactive", "", list(words)
        if options_end or not word.startswith("-"):
            return "script", word, list(words)
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, None)
            continue
        for at, letter in enumerate(word[1:], start=2):
            if letter in "cm":
                value = word[at:] or next(words, "")
                return "command" if letter == "c" else "module", value, list(words)
            if letter in "WX":
                if at == len(word):
                    next(words, None)
                break
    return "interactive", "", []


def _host() -> str:
    """Return the program that has Python in it; off Linux what Python takes for its own."""
    try:
        return os.readlink("/proc/self/exe")
    except OSError:
        return sys.executable or "python"


def label(kind: str, what: str) -> str:
    """Return the name a person recognises: ``counter.py``, ``http.server``, ``python -c``."""
    if kind == "script":
        base = os.path.basename(what.rstrip("/" + os.sep))
        if base == "__main__.py":  # named in full: the folder says more
            base = os.path.basename(os.path.dirname(os.path.abspath(what)))
        return base
    if kind == "module":
        return what
    if kind == "command":
        return "multiprocessing" if what.startswith(SPAWNED) else "python -c"
    return "python"


def names(kind: str, what: str) -> "tuple[str, ...]":
    """Return the names that RTCONSOLE_ONLY and RTCONSOLE_SKIP are matched against."""
    if kind == "module":
        return what, what.partition(".")[0]
    base = label(kind, what)
    if kind != "script":
        return (base,)
    stem = base
    for ending in (".py", ".pyw", ".exe", "-script"):
        if stem.endswith(ending):
            stem = stem[: -len(ending)]
    return what, base, stem


def skipped_because(kind: str, what: str, arguments: "list[str]") -> "str | None":
    """Return why this program gets no console, or ``None`` if it gets one.

    What RTCONSOLE_SKIP names is left alone; what RTCONSOLE_ONLY names is served, also
    when it is skipped by default; with RTCONSOLE_ONLY all others are left alone.
    """
    called = names(kind, what)
    if _matches(called, os.environ.get("RTCONSOLE_SKIP")):
        return "RTCONSOLE_SKIP names it"
    if only := os.environ.get("RTCONSOLE_ONLY", "").strip():
        return None if _matches(called, only) else "RTCONSOLE_ONLY does not name it"
    if kind == "command":
        if what.startswith(RESOURCE_TRACKERS):
            return "a resource tracker, multiprocessing's or loky's"
        if is_fork_server(what):
            return "multiprocessing's fork server; the processes that it forks have one"
        return None
    if called[-1] == "jupyter" and arguments[:1] and arguments[0] in JUPYTER_CLIENTS:
        return "a Jupyter client"
    name = called[-1]
    if name.startswith("pip") and name[3:].replace(".", "").isdigit():  # pip3, pip3.13
        name = "pip"
    return "skipped by default" if name in SKIPPED else None


def is_fork_server(command: str) -> bool:
    """Tell whether ``command``, given with -c, is multiprocessing's fork server."""
    return command.removeprefix("import sys; ").startswith(FORK_SERVER)  # the prefix: 3.14


def _matches(called: "tuple[str, ...]", globs: "str | None") -> bool:
    if not globs:
        return False
    import fnmatch

    parts = [glob.strip() for glob in globs.split(",")]
    return any(fnmatch.fnmatchcase(name, glob) for name in called for glob in parts if glob)


def _note(message: str, error: "BaseException | None" = None) -> None:
    """Tell the debug log, if there is one and rtconsole is sound enough to write it."""
    path = os.environ.get("RTCONSOLE_DEBUG")
    if not path or sys.flags.ignore_environment:
        return
    try:
        from rtconsole import debuglog

        debuglog.note(message, error)
    except (Exception, SystemExit) as broken:  # protects the program from a broken rtconsole
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            fd = os.open(path, flags, 0o600)
            try:
                line = f"pid {os.getpid()}: {message} {error!r}; rtconsole is broken: {broken!r}\n"
                os.write(fd, line.encode("utf-8", "backslashreplace"))
            finally:
                os.close(fd)
        except Exception:  # protects the program from a log that cannot be written
            pass
