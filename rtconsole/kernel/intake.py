"""How fast requests are read: a flood of them costs the program little, and others are served.

What is not read waits with its sender: libzmq's queues and the system's are short, and full
they stop whoever fills them. It reads from all connections in turn, so a client beside one that
floods waits for one message of that, not for all.
"""

from collections.abc import Callable
from typing import Any

import zmq

from .clock import monotonic

# Requests of a flood that are read one after the other, and then in a second. One costs the
# program up to 3 ms, which at this rate is a twentieth of its time. On control nobody asks for many
# things at once. Likewise what is no request of ours: it costs 0.1 ms.
BURST, CONTROL_BURST, RATE = 300, 30, 10
JUNK_BURST, JUNK_RATE = 1000, 200

# Seconds between two of the first.
_BREATH = 0.01

# Seconds that reading pauses at least: long enough for clients that wait for iopub to be silent
# (jupyter_client's wait_for_ready: 0.2 s), on which each request is heard.
_SILENCE = 0.4

# Requests that may wait without being a flood: a client that waits for its replies has one or
# two, and a notebook that is run as a whole is not longer than this and a burst.
FREE = 32

# Requests that may wait for one shell. libzmq's queue to its thread takes 2,000; who sent one
# more would stop the channel's thread, and with it the shells beside one that hangs.
MOST = 1500


class TooManyRequests(Exception):
    """So many wait for a shell that one more is refused."""


class Pace:
    """A token bucket. For one thread."""

    def __init__(self, burst: int, rate: float) -> None:
        """
        Args:
            burst: how many it holds.
            rate: how many come in a second.
        """
        self._burst, self._rate = burst, rate
        self._left = float(burst)
        self._at = monotonic()

    @property
    def is_short(self) -> bool:
        """Whether there was a flood a moment ago, or is one."""
        return self._left + (monotonic() - self._at) * self._rate < self._burst / 2

    def pause(self) -> float:
        """Count a message of a flood; return the seconds until the next may be read."""
        now = monotonic()
        self._left = min(self._left + (now - self._at) * self._rate, self._burst) - 1
        self._at = now
        return max(_SILENCE, -self._left / self._rate) if self._left < 0 else 0.0


class Intake:
    """Reads one channel's stream. All of it runs in that channel's thread."""

    def __init__(self, stream: Any, take: Callable[[Any], Any], burst: int) -> None:
        """
        Args:
            stream: a ``ZMQStream``.
            take: its ``on_recv``.
            burst: how many requests of a flood are read at once.
        """
        self._stream = stream
        self._take = take
        self._pace = Pace(burst, RATE)
        self._junk = Pace(JUNK_BURST, JUNK_RATE)

    def stop(self) -> None:
        """Read no more."""
        self._stream.stop_on_recv()

    def go_on(self) -> None:
        """Read on."""
        if not self._stream.closed():
            self._stream.on_recv(self._take, copy=False)

    def is_flooded(self) -> bool:
        """Tell whether a flood goes on: one message behind the other.

        How many wait does not tell it once reading is slow.
        """
        return self._pace.is_short and bool(self._stream.socket.get(zmq.EVENTS) & zmq.POLLIN)

    def slow_down(self, is_ours: bool = True) -> bool:
        """Count a message of a flood; tell whether reading pauses for it, and then goes on.

        Args:
            is_ours: it is signed with our key.
        """
        pause = (self._pace if is_ours else self._junk).pause() or (_BREATH if is_ours else 0)
        if pause:
            self.stop()
            self._stream.io_loop.call_later(pause, self.go_on)
        return bool(pause)
