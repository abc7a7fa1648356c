"""Why there is a console, or none: in programs on this interpreter, and in a process.

What the start-up hook and the listener decide silently, since they are guests, is found out
again here and said aloud.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from glob import escape, glob
from typing import Literal, NamedTuple

from . import client, curve, folders, hook, places, processes, room, settings
from .connection import printable
from .errors import Gone, NoAnswer
from .processes import About, Process

ON = ("1", "true", "yes", "on")
OFF = ("", "0", "false", "no", "off")

_TRIAL = 60.0  # seconds for one start of the interpreter


class Finding(NamedTuple):
    """One thing that was found out: all right, the reason for there being no console, or so."""

    kind: Literal["good", "bad", "note"]
    text: str


def _good(text: str) -> Finding:
    return Finding("good", text)


def _bad(text: str) -> Finding:
    return Finding("bad", text)


def _note(text: str) -> Finding:
    return Finding("note", text)


# -- this interpreter --------------------------------------------------------------------


def of_interpreter() -> Iterator[Finding]:
    """Yield what is to be said of a program started now, with this environment and options."""
    yield _note(f"Python {sys.version.partition(' ')[0]}: {sys.executable}")
    if sys.flags.no_site:
        yield _bad("started with -S: site-packages and their start-up files are not read")
    if sys.flags.ignore_environment:
        yield _bad("started with -I or -E: no variable is read, RTCONSOLE neither")
    yield _hook()
    yield _variable(os.environ)
    yield from _limits(os.environ)
    if hasattr(os, "getuid") and (os.getuid() != os.geteuid() or os.getgid() != os.getegid()):
        yield _bad("real and effective user or group differ: a privileged process gets no console")
    if not room.has_lock():
        yield _bad("Python without the interpreter lock gets no console: a fork may hang")
    yield from _transport()
    yield from _places()
    yield _packages()
    yield _trial()


def _hook() -> Finding:
    if found := hook.installed():
        if all(map(hook.is_hidden, found)):
            return _bad(f"{found[0]} is hidden, and so passed over: chflags nohidden {found[0]}")
        return _good(f"the start-up hook is installed: {found[0]}")
    if hook.is_by_path(os.environ.get("PYTHONPATH", "")):
        return _good("the start-up hook is on PYTHONPATH")
    return _bad(
        "the start-up hook is not installed here: pip install rtconsole (or: rtconsole run)"
    )


def _variable(env: Mapping[str, str]) -> Finding:
    value = env.get("RTCONSOLE", "").strip().lower()
    if value in ON:
        return _good(f"RTCONSOLE={value}")
    if not value:
        return _bad("RTCONSOLE is not set: RTCONSOLE=1 python program.py (or: rtconsole run)")
    if value in OFF:
        return _bad(f"RTCONSOLE={value} switches it off")
    return _bad(f"RTCONSOLE={printable(value)} is neither on ({', '.join(ON)}) nor off")


def _limits(env: Mapping[str, str]) -> Iterator[Finding]:
    for name, what in (("RTCONSOLE_ONLY", "serves only"), ("RTCONSOLE_SKIP", "leaves alone")):
        if env.get(name):
            yield _note(f"{name} {what} these: {printable(env[name])}")


def _transport() -> Iterator[Finding]:
    chosen = settings.from_environment()
    for text in chosen.notes:
        yield _bad(text)
    if chosen.transport == "tcp":
        known = curve.supported_here()
        yield _good(f"transport tcp, {'encrypted' if known else 'signed, not encrypted'}")
        return
    try:
        folder = folders.socket_dir()
    except OSError as error:
        yield _bad(f"no folder for Unix sockets: {error}")
        return
    yield _good(f"transport ipc, sockets in {folder}")
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.path.dirname(folder) != os.path.abspath(session):
        yield _note(
            f"XDG_RUNTIME_DIR={session} is not used: not ours, not writable, or longer than"
            f" Unix sockets allow ({folders.LONGEST_SOCKET_PATH} bytes)"
        )


def _places() -> Iterator[Finding]:
    try:
        folder = folders.own_folder(folders.runtime_dir(os.environ, sys.platform))
        if os.access(folder, os.W_OK | os.X_OK):
            yield _good(f"connection files in {folder}")
            return
        error: OSError = PermissionError(f"{folder} is not writable")
    except OSError as caught:
        error = caught
    try:
        other = folders.private_temporary_dir()
    except OSError as worse:
        yield _bad(f"no folder for the connection file: {error}; {worse}")
        return
    yield _bad(
        f"Jupyter's runtime folder cannot be used: {error};"
        f" connection files in {other}, where only rtconsole finds them"
    )


def _packages() -> Finding:
    env = {name: value for name, value in os.environ.items() if name != "RTCONSOLE"}
    done = _python(["-c", "import ipykernel as i, ipykernel.ipkernel; print(i.__version__)"], env)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        return _bad(f"ipykernel cannot be imported: {printable(said)}")
    version = done.stdout.strip()
    if version.split(".")[0] != "7":
        return _bad(f"ipykernel {printable(version)} is not of the version that is needed (7)")
    return _good(f"ipykernel {version} can be imported")


def _trial() -> Finding:
    """Start the interpreter once, with RTCONSOLE=1, and read what the hook noted."""
    with tempfile.TemporaryDirectory(prefix="rtconsole-") as folder:
        log = os.path.join(folder, "log")
        env = {**os.environ, "RTCONSOLE": "1", "RTCONSOLE_DEBUG": log}
        for name in ("RTCONSOLE_ONLY", "RTCONSOLE_SKIP"):
            env.pop(name, None)
        done = _python(["-c", "pass"], env)
        try:
            with open(log, encoding="utf-8", errors="replace") as file:
                noted = file.read().splitlines()
        except OSError:
            noted = []
    if any(": console at " in line for line in noted):
        return _good("started once with RTCONSOLE=1, it had a console")
    said = noted[-1].partition(": ")[2] if noted else "the start-up hook did not run"
    if done.returncode:
        said = f"it failed with exit status {done.returncode}"
    return _bad(f"started once with RTCONSOLE=1, it had no console: {printable(said)}")


def _python(arguments: list[str], env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    options = [
        letter
        for letter, given in (
            ("-I", sys.flags.isolated),
            ("-E", sys.flags.ignore_environment and not sys.flags.isolated),
            ("-S", sys.flags.no_site),
            ("-s", sys.flags.no_user_site and not sys.flags.isolated),
        )
        if given
    ]
    return subprocess.run(
        [sys.executable, *options, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TRIAL,
        check=False,
    )


# -- a process ---------------------------------------------------------------------------


def of_process(pid: int, timeout: float) -> Iterator[Finding]:
    """Yield what is to be said of a process.

    Args:
        timeout: seconds to wait for an answer, if it is asked for one.

    Raises:
        NoSuchProcess: there is none.
    """
    about = processes.about(pid)
    yield _note(f"process {pid}: {printable(about.name)}, of user {about.user}")
    if about.is_stopped:
        yield _bad(f"it is stopped (by a signal or a debugger) and cannot answer: kill -CONT {pid}")
    if not about.is_mine:
        yield _bad(f"it belongs to {about.user}; only they and root can look into it")
        return
    for process in processes.running():
        if process.pid == pid:
            yield from _of_console(process, about, timeout)
            return
    yield from _of_none(about)


def _of_console(process: Process, about: About, timeout: float) -> Iterator[Finding]:
    told = process.connection
    attached = f"{told.clients} client{'s' * (told.clients != 1)} attached"
    yield _good(f"it has a console: {told.state}, {attached}; {told.path}")
    sockets = [f"{process.info['ip']}-{process.info[f'{c}_port']}" for c in ("shell", "control")]
    if process.info["transport"] == "ipc" and not all(map(os.path.exists, sockets)):
        yield _bad(f"its sockets are gone from {os.path.dirname(sockets[0])}: nobody can attach")
        return
    if about.is_stopped:
        return
    if told.state == "dormant":
        yield _good("dormant: its kernel boots when somebody attaches (not asked now)")
        return
    began = time.monotonic()
    try:
        reply = client.request(process.info, "control", "kernel_info_request", {}, timeout)
    except NoAnswer:
        yield _bad(
            f"it did not answer within {timeout:g} s: something in it holds the interpreter"
            " (a long call in C), or the machine is overloaded"
        )
    except Gone:
        yield _bad("it ended while it was asked")
    else:
        banner = str(reply.get("banner", ""))
        if banner.startswith("rtconsole: no console"):
            yield _bad(
                f"its kernel did not boot: {printable(banner.partition(chr(10))[2].strip())}"
            )
        else:
            yield _good(f"it answers (in {(time.monotonic() - began) * 1000:.0f} ms)")


def _of_none(about: About) -> Iterator[Finding]:
    yield _bad("it has no console")
    if about.env is None:
        yield _note("its environment cannot be read; is it a thread of the operating system's?")
        return
    python = _interpreter(about)
    library = "" if python else places.library_of_python(about.pid)
    if not python and not library:
        yield _note("it does not look like a Python program")
        return
    if library:
        yield _note(f"a program in C that has Python in it: {printable(library)}")
    variable = _variable(about.env)
    if variable.kind == "bad":
        yield _bad(f"when it started: {variable.text}")
    yield from _limits(about.env)
    options = _options(about.argv)
    if "S" in options:
        yield _bad("it was started with -S: site-packages and their start-up files are not read")
    if "I" in options or "E" in options:
        yield _bad("it was started with -I or -E: no variable is read, RTCONSOLE neither")
    if found := hook.installed(_package_folders(python or library)):
        yield _good(f"the start-up hook is installed there: {found[0]}")
    elif hook.is_by_path(about.env.get("PYTHONPATH", "")):
        yield _good("the start-up hook is on its PYTHONPATH")
    else:
        yield _bad(
            f"no start-up hook was found for {python or library}: pip install rtconsole there"
        )
    yield from _noted(about)
    yield _note("pip, venv, Jupyter's clients and multiprocessing's helpers are left alone")


def _interpreter(about: About) -> str | None:
    """Return the path of the interpreter by which it was started; None if it is no Python."""
    first = about.argv[0] if about.argv else ""
    if not os.path.basename(first).startswith(("python", "pypy")):
        return None
    return shutil.which(first, path=(about.env or {}).get("PATH")) or first


def _package_folders(path: str) -> list[str]:
    """Return the folders of packages that an interpreter reads, or a program with that library.

    Debian's own has others than ``site-packages``, and what pip installs is in ``/usr/local``.
    """
    found = re.match("(.*)/(?:bin|lib|lib64)/", path)
    prefix = escape(found[1] or "/usr" if found else os.path.dirname(os.path.dirname(path)))
    debian = "lib/python3*/dist-packages", "local/lib/python3*/dist-packages"
    where = "lib/python3*/site-packages", *debian
    return [folder for one in where for folder in glob(os.path.join(prefix, one))]


def _options(argv: tuple[str, ...]) -> set[str]:
    """Return the letters of the interpreter's options, up to the script, -c or -m."""
    letters: set[str] = set()
    words = iter(argv[1:])
    for word in words:
        if not re.match("-[^-]", word):
            break
        flags = re.split("[cmWX]", word[1:])[0]
        end, value = word[len(flags) + 1 :][:1], word[len(flags) + 2 :]
        letters.update(flags)
        if end and end in "cm":
            break
        if end and not value:
            next(words, None)
    return letters


def _noted(about: About) -> Iterator[Finding]:
    """Yield what its debug log says of it, the last lines."""
    log = (about.env or {}).get("RTCONSOLE_DEBUG", "")
    if not log:
        yield _note("more is told by a debug log: start it with RTCONSOLE_DEBUG=/path/to/log")
        return
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if f" pid {about.pid}: " in line]
    except OSError as error:
        yield _note(f"its debug log cannot be read: {error}")
        return
    for line in lines[-3:]:
        yield _note(f"its debug log: {printable(line.rstrip())}")
