"""All threads' Python stacks, for ``rtconsole stack``. Looks, and changes nothing.

Not :mod:`traceback`, which fills the program's ``linecache``, and not ``threading.enumerate``,
which takes a lock that a thread of the program may hold.
"""

import faulthandler
import linecache
import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Collection
from typing import Any

from rtconsole import descriptors, native
from rtconsole.debuglog import system

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
        known.update(active := getattr(module, "_active", {}))
        known.update(getattr(active, "ours", {}))
    # by that: in a program with greenlets it knows another one of itself
    known[main] = _programs_threading.main_thread()
    threads: list[dict[str, Any]] = []
    for ident, stack in (_of_frames() or _of_faulthandler()).items():
        thread = known.get(ident)
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


def _of_frames() -> dict[int, list[dict[str, Any]]]:
    """Return the stack of each thread, the innermost frame last; empty if that is not safe."""
    stacks: dict[int, list[dict[str, Any]]] = {}
    for ident, innermost in native.frames().items():
        stack = stacks[ident] = []
        frame: Any = innermost
        while frame is not None:
            code = frame.f_code
            place = {"file": code.co_filename, "line": frame.f_lineno or 0}
            stack.append({**place, "function": code.co_qualname})
            frame = frame.f_back
        stack.reverse()
    return stacks


def _of_faulthandler() -> dict[int, list[dict[str, Any]]]:
    """Return likewise what ``faulthandler`` writes, which makes no objects of frames.

    Of 100 threads and 100 frames at most, with names of 500 characters.
    """
    release, folder = descriptors.hold_streams(), tempfile.tempdir
    try:
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            text = file.read().decode("ascii", "replace")
    finally:
        release()
        if folder is None:  # the program has not asked for it yet, and may set TMPDIR before
            tempfile.tempdir = None
    stacks: dict[int, list[dict[str, Any]]] = {}
    for part in re.split(r"^(?=Thread |Current thread )", text, flags=re.MULTILINE):
        if head := re.match(r"(?:Current t|T)hread (0x[0-9a-f]+)", part):
            places = re.findall(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$', part, re.MULTILINE)
            stacks[int(head[1], 16)] = [
                {"file": name, "line": int(line) if line.isdigit() else 0, "function": function}
                for name, line, function in reversed(places)
            ]
    return stacks


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
        fd = descriptors.open_above(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(system.fstat(fd).st_mode):
                return []
            source: bytes = system.read(fd, _LONGEST_SOURCE)
            return source.decode("utf-8", "replace").splitlines()
        finally:
            system.close(fd)
    except (OSError, ValueError):  # no file: "<string>", or one in an archive
        return []
