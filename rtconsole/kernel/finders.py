"""Finders of ours on ``sys.meta_path``, which no import of the program's notices coming or going.

An import that is going through the list passes one by if an entry before it is removed, and says
that there is no such module. So a finder of ours takes the place of another one, which it asks.
"""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any

from rtconsole.recorder import hide_frame


class _Before:
    """A finder of ours and, in its place, the program's that it stands for."""

    def __init__(self, ours: Any, programs: Any) -> None:
        self._ours = ours
        self._programs = programs

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        try:
            spec: ModuleSpec | None = self._ours.find_spec(name, path, target)
            find = getattr(self._programs, "find_spec", None)
            return find(name, path, target) if spec is None and find is not None else spec
        except BaseException as error:
            hide_frame(error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._programs, name)


def put(finder: Any) -> None:
    """Have ``finder`` asked first."""
    path = sys.meta_path
    while path:
        first = path[0]
        before: Any = _Before(finder, first)
        # no call between these two, at which another thread could run
        if path[0] is first:
            path[0] = before
            return
    path.append(finder)


def take(finder: Any) -> None:
    """Have it not asked any more; nothing if it is not."""
    for at, entry in enumerate(sys.meta_path):
        if entry is finder:
            sys.meta_path.remove(entry)
            return
        outer = None
        while type(entry) is _Before:
            ours, programs = vars(entry)["_ours"], vars(entry)["_programs"]
            if ours is finder:
                if outer is not None:
                    outer._programs = programs
                    return
                if sys.meta_path[at] is entry:
                    sys.meta_path[at] = programs
                    return
                take(finder)  # the program has changed the list meanwhile
                return
            outer, entry = entry, programs


def others(kind: type) -> Iterator[Any]:
    """Yield the finders, in the order in which they are asked, but for those of a class."""
    for entry in sys.meta_path[:]:
        while type(entry) is _Before:
            if not isinstance(ours := vars(entry)["_ours"], kind):
                yield ours
            entry = vars(entry)["_programs"]
        if not isinstance(entry, kind):
            yield entry
