"""rtconsole: a Jupyter console inside every running Python program.

Importing it costs nothing and starts nothing: the names are resolved when used, since
the start-up hook imports this package into programs that will never be looked at. Some of
what :mod:`.listener` needs to open is here, too: a module of its own would cost each start
half a percent, and that one is long enough. It imports that when it needs it, since what it
holds is let go of one by one at the program's end, which costs as much.
"""

import os
import sys
import time

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

    from .embed import Console, start_console, stop_console

__version__ = "0.1.0"
__all__ = ["Console", "__version__", "start_console", "stop_console"]

# Bytes of our threads' stacks: 0 is the system's usual, with glibc what the main thread has. With
# musl it is 128 KB, or the 1 MB that Python asks for there: recursion in C would end the process.
STACK = 8 << 20 if "musl" in getattr(sys.implementation, "_multiarch", "") else 0

# What tests replace and the kernel's modules call, as it was when the program began. In a dict,
# since who fakes a file system puts its own in the place of any such function that a module has.
originals: "dict[str, Any]" = {"open": open, "print": print, "__import__": __import__}


def __getattr__(name: str) -> object:
    if name in ("Console", "start_console", "stop_console"):
        from . import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


# os in C, in which eventlet and tests replace nothing
system = sys.modules[os.name]

_boot_time = 0  # of the machine, in seconds since the epoch


def create_time() -> float:
    """Return this process's start in seconds since the epoch; off Linux the time of the call."""
    global _boot_time
    try:
        fd = system.open("/proc/self/stat", os.O_RDONLY)  # each start and fork waits for this
        try:
            # as psutil: proc(5), field 22; the name in field 2 may hold spaces and parentheses
            ticks = int(system.read(fd, 4096).rpartition(b")")[2].split(None, 20)[19])
        finally:
            system.close(fd)
        if not _boot_time:  # slow to read; a child inherits it
            with open("/proc/stat", "rb") as file:
                _boot_time = int(file.read().partition(b"\nbtime ")[2].partition(b"\n")[0])
        return _boot_time + ticks / int(system.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.time()


def pid_namespace() -> int:
    """Return a number for who shares our pids: a container has its own; 0 if unknown."""
    try:
        return int(system.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return 0


def count_filters() -> int:
    """Return how many filters of system calls this thread has (seccomp(2)); it cannot lose any."""
    try:
        fd = system.open("/proc/thread-self/status", os.O_RDONLY)
        try:
            words = system.read(fd, 4096).partition(b"\nSeccomp:")[2].split(None, 3)
        finally:
            system.close(fd)
        return int(words[2] if words[1] == b"Seccomp_filters:" else words[0])  # or Linux before 5.9
    except (OSError, ValueError, IndexError):
        return 0


def load_lifecycle() -> "Any":
    """Return :mod:`.lifecycle`.

    Raises:
        ImportError: the package was upgraded, or removed, since this process began.
    """
    try:
        if system.stat(__file__).st_ctime >= create_time():
            from . import stale

            stale.require_same(__name__)
    except (OSError, NameError):  # in an archive, or gone: what is imported next will tell
        pass
    try:
        __import__("rtconsole.lifecycle")
    except RuntimeError:  # see waking.boot
        pass
    from . import lifecycle

    return lifecycle


def dumps(value: "Any") -> str:
    """Return ``value``, of plain types, as ASCII JSON; to import ``json`` costs too much."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
        from _json import encode_basestring_ascii  # the C half of json, without the costly one

        return encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ", ".join([f"{dumps(k)}: {dumps(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join([dumps(item) for item in value]) + "]"
    return "null" if value is None else repr(value)


# With one of these set :mod:`.folders` and :mod:`.settings` know what is meant.
_SPECIAL = (
    *("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_PLATFORM_DIRS"),
    *("XDG_DATA_HOME", "TMPDIR", "RTCONSOLE_TRANSPORT", "RTCONSOLE_EAGER", "RTCONSOLE_HISTORY"),
    *("RTCONSOLE_READONLY", "RTCONSOLE_AUDIT"),
)


def usual_folders() -> "tuple[str, str] | None":
    """Return the folders of files and sockets, or ``None`` to ask :mod:`.folders` for them."""
    env, home = os.environ, os.environ.get("HOME", "")
    if sys.platform != "linux" or not home.startswith("/") or any(n in env for n in _SPECIAL):
        return None
    runtime, session = f"{home}/.local/share/jupyter/runtime", env.get("XDG_RUNTIME_DIR", "")
    sockets = f"{session}/rtconsole" if session else f"/tmp/rtconsole-{system.geteuid()}"
    usable = sockets.startswith("/") and len(sockets) <= 80 and is_own_folder(runtime, 0o022)
    return (runtime, sockets) if usable and is_own_folder(sockets, 0o077) else None


def is_own_folder(path: str, forbidden: int) -> bool:
    """Tell whether ``path`` is a folder (no link to one) of ours without ``forbidden`` bits."""
    try:
        found = system.lstat(path)
    except OSError:
        return False
    is_kept = found.st_mode & (0o170000 | forbidden) == 0o040000
    return bool(is_kept and found.st_uid == system.geteuid())
