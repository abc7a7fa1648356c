"""rtconsole: a Jupyter console inside every running Python program.

Importing it costs nothing and starts nothing: the names are resolved when used, since
the start-up hook imports this package into programs that will never be looked at. What
they say of themselves in the connection file is here, too: a module of its own would cost
each start half a percent, and :mod:`.listener` is long enough.
"""

import os
import time

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from typing import Any

    from .embed import Console, start_console, stop_console

__version__ = "0.1.0"
__all__ = ["Console", "__version__", "start_console", "stop_console"]


def __getattr__(name: str) -> object:
    if name in ("Console", "start_console", "stop_console"):
        from . import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


_boot_time = 0  # of the machine, in seconds since the epoch


def create_time() -> float:
    """Return this process's start in seconds since the epoch; off Linux the time of the call."""
    global _boot_time
    try:
        with open("/proc/self/stat", "rb", 0) as file:
            # as psutil: proc(5), field 22; the name in field 2 may hold spaces and parentheses
            ticks = int(file.read(4096).rpartition(b")")[2].split(None, 20)[19])
        if not _boot_time:  # slow to read; a child inherits it
            with open("/proc/stat", "rb") as file:
                _boot_time = int(file.read().partition(b"\nbtime ")[2].partition(b"\n")[0])
        return _boot_time + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time()


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
