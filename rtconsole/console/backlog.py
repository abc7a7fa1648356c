"""Lines on their way to the terminal, and which are left out when there are too many.

What the person's own cells came to is never left out, only what streams: old output of the
program when the terminal is behind, old output of cells when there is a great deal.
"""

from collections import deque
from collections.abc import Iterator
from enum import IntEnum


class Kind(IntEnum):
    """What may be left out, the lesser first."""

    PROGRAM = 0
    CELL = 1
    KEPT = 2


class Backlog:
    """A queue of lines.

    Attributes:
        left_out: lines that were, since they were last told of.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._batches: deque[tuple[Kind, deque[str]]] = deque()
        self._lines = [0, 0, 0]

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, kind: Kind, lines: list[str]) -> None:
        if not lines:
            return
        if self._batches and self._batches[-1][0] is kind:
            self._batches[-1][1].extend(lines)
        else:
            self._batches.append((kind, deque(lines)))
        self._lines[kind] += len(lines)

    def limit(self, kind: Kind, most: int) -> None:
        """Leave out the oldest lines of a kind that are more than ``most``."""
        over = self._lines[kind] - most
        if over <= 0:
            return
        self.left_out += over
        self._lines[kind] = most
        for found, lines in self._batches:
            if found is kind and over:
                gone = min(over, len(lines))
                over -= gone
                if gone == len(lines):
                    lines.clear()
                else:
                    for _ in range(gone):
                        lines.popleft()
        self._batches = deque(batch for batch in self._batches if batch[1])

    def take(self, size: int) -> Iterator[str]:
        """Take lines off the front until they have ``size`` characters, or none is left."""
        while self._batches and size > 0:
            kind, lines = self._batches[0]
            line = lines.popleft()
            if not lines:
                self._batches.popleft()
            self._lines[kind] -= 1
            size -= len(line)
            yield line
