"""All threads' Python stacks, for ``rtconsole stack``. Looks, and changes nothing.

Not :mod:`traceback`, which fills the program's ``linecache``, and not ``threading.enumerate``,
which takes a lock that a thread of the program may hold.
"""

import linecache
import os
import stat
import sys
import threading
from collections.abc import Collection
from typing import Any

from rtconsole.native import frames

_LONGEST_SOURCE = 1 << 22  # bytes
# Ours may be another one: rtconsole.native.
_programs_threading: Any = sys.modules["threading"]
_OURS = ("rtconsole heartbeat",)  # not among the kernel's identifiers


def all_stacks(main: int, console: Collection[int], cells: Collection[int]) -> list[dict[str, Any]]:
    """Return one dict for each thread, the main one first.

    Args:
        main: identifier of the program's main thread.
        console: identifiers of the console's own threads.
        cells: of those that run a cell now.

    Returns:
        ``name``, ``ident``, ``daemon`` (``None`` for a thread that :mod:`threading` does not
        know), ``main``, ``console``, ``cell``, and ``stack``: of each frame, the innermost
        last, its ``file``, ``line`` (0 if unknown), ``function`` and ``source`` (the line,
        stripped; empty if it cannot be read).
    """
    known: dict[int, Any] = {}
    for module in (threading, _programs_threading):
        known.update(getattr(module, "_active", {}))
    known[main] = (
        _programs_threading.main_thread()
    )  # in a program with greenlets it has another ident
    threads: list[dict[str, Any]] = []
    for ident, innermost in frames().items():
        thread = known.get(ident)
        stack: list[dict[str, Any]] = []
        frame: Any = innermost
        while frame is not None:
            code = frame.f_code
            place = {"file": code.co_filename, "line": frame.f_lineno or 0}
            stack.append({**place, "function": code.co_qualname})
            frame = frame.f_back
        stack.reverse()
        threads.append(
            {
                "name": str(thread.name) if thread is not None else "not a Python thread",
                "ident": ident,
                "daemon": bool(thread.daemon) if thread is not None else None,
                "main": ident == main,
                "console": ident in console or str(getattr(thread, "name", "")) in _OURS,
                "cell": ident in cells,
                "stack": stack,
            }
        )
    del frame, innermost
    sources: dict[str, list[str]] = {}
    for thread in threads:
        for place in thread["stack"]:
            name, line = place["file"], place["line"]
            if name not in sources:
                sources[name] = source_lines(name)
            lines = sources[name]
            place["source"] = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    threads.sort(key=lambda thread: (not thread["main"], thread["console"]))
    return threads


def as_text(threads: list[dict[str, Any]]) -> str:
    """Return the stacks of the program's own threads, for ``%threads``."""
    lines = []
    for thread in threads:
        if thread["console"]:
            continue
        lines.append(f"Thread {thread['name']}" + (" (main)" if thread["main"] else ""))
        for place in thread["stack"]:
            lines.append(f"  {place['file']}:{place['line']} in {place['function']}")
            if place["source"]:
                lines.append(f"    {place['source']}")
        lines.append("")
    return "\n".join(lines)


def source_lines(name: str) -> list[str]:
    """Return the lines of a source file; none if it cannot be read."""
    cached: Any = linecache.cache.get(name)  # a cell's source is nowhere else
    if cached is not None and len(cached) == 4:
        return list(cached[2])
    try:
        fd = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return []
            return os.read(fd, _LONGEST_SOURCE).decode("utf-8", "replace").splitlines()
        finally:
            os.close(fd)
    except (OSError, ValueError):  # no file: "<string>", or one in an archive
        return []
