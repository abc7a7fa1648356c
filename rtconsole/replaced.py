"""Is something of the program's in the place of what a kernel needs, for a while or for good?

Tests have (``mock.patch("threading.Thread")``), and profilers of locks, and who forbids sockets or
calls that wait. Standard library only; imports nothing that is not there.
"""

import os
import sys
import types

from .listener import PLATFORM, POSIX

TYPE_CHECKING = False  # until :func:`rtconsole.native.module_locks` is called no import is safe
if TYPE_CHECKING:
    from typing import Any

_NEEDED = {
    "builtins": ("open", "print"),
    "threading": ("Thread", "Lock", "RLock", "Event", "Condition", "local", "current_thread"),
    "os": ("open", "close", "read", "stat", "lstat", "listdir", "getpid", "fsencode", "fspath"),
    "select": ("select", "poll", "epoll"),
    "selectors": ("DefaultSelector",),
    "socket": ("socket",),
    "queue": ("Queue", "SimpleQueue", "LifoQueue"),
    "subprocess": ("Popen",),
}

# Modules in C that have some of it.
_HALVES = ("_io", "io", "_thread", "_thread._local", "_queue", "posix", "nt")


def is_disguised() -> bool:
    """Tell whether the program pretends to be on another system, as tests do for a moment.

    What is imported meanwhile is another platform's for good (``pathlib``'s paths): also the
    program's, if it imports that later.
    """
    return (os.name == "posix") != POSIX or sys.platform != PLATFORM


def are_some() -> bool:
    """Tell whether something else is there."""
    for name, needed in _NEEDED.items():
        names = vars(sys.modules.get(name, types))
        if not all(_is_own(names[one], name, names) for one in needed if one in names):
            return True
    return False


def _is_own(found: "Any", name: str, names: "dict[str, Any]") -> bool:
    """Tell whether ``found`` is of the module of that name, by what nobody pretends to be.

    A mock says that it is of the class of what it replaces, and of its module.
    """
    if type(found) is types.FunctionType:
        return found.__globals__ is names
    is_class_or_in_c = issubclass(type(found), (type, types.BuiltinFunctionType))
    return is_class_or_in_c and found.__module__ in (name, *_HALVES)
