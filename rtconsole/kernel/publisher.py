"""From text to stream messages on iopub: at once after quiet, in windows under a flood.

Writers append to a queue and, if the publisher sleeps, wake it; the thread of the iopub
channel takes everything that waits and sends it. After a message it waits one window
before the next, since waking it for each print would make two threads fight for the
interpreter. When nothing is written nothing wakes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

# Seconds between two messages of a flood.
WINDOW = 0.005

# No message carries more text than this, in characters.
LARGEST = 500_000


class Text(NamedTuple):
    """A piece of output: its stream (``stdout``, ``stderr``), the text, the cell's request."""

    stream: str
    text: str
    parent: dict[str, Any]


class Publisher:
    """Queue and sender. ``put`` and ``flush`` from any thread, the rest in the iopub thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Text], None],
        send_earlier: Callable[[], None],
    ) -> None:
        """
        Args:
            loop: the event loop of the iopub thread.
            send: sends one message; called in that thread.
            send_earlier: sends the other messages that wait, which came before the text:
                text must not overtake the ``busy`` of its own cell.
        """
        self._loop = loop
        self._send_earlier = send_earlier
        self._send = send
        self._queue: deque[Text] = deque()
        self._awake = False

    def put(self, stream: str, text: str, parent: dict[str, Any]) -> None:
        """Queue ``text`` for sending. Takes no lock and never waits."""
        self._queue.append(Text(stream, text, parent))
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._tick)

    def drain(self) -> None:
        """Send all that waits, pieces of one stream and cell joined. In the iopub thread."""
        queue, joined = self._queue, None
        parts: list[str] = []
        size = 0
        for _ in range(len(queue)):
            item = queue.popleft()
            if joined is not None:
                same = joined.stream == item.stream and joined.parent is item.parent
                if not same or size + len(item.text) > LARGEST:
                    self._send_parts(joined, parts)
                    parts, size = [], 0
            joined = item
            parts.append(item.text)
            size += len(item.text)
        if joined is not None:
            self._send_parts(joined, parts)

    def _send_parts(self, like: Text, parts: list[str]) -> None:
        # lone surrogates, legal in a str, have no UTF-8: shown as escapes
        text = "".join(parts).encode("utf-8", "backslashreplace").decode()
        for at in range(0, len(text), LARGEST):
            self._send(like._replace(text=text[at : at + LARGEST]))

    def _tick(self) -> None:
        if self._queue:
            self._send_earlier()
            self.drain()
            self._loop.call_later(WINDOW, self._tick)
            return
        self._awake = False
        if self._queue and not self._awake:  # put between the look and the line above
            self._awake = True
            self._loop.call_soon(self._tick)
