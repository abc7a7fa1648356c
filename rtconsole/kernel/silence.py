"""How long the program's output is held back for clients that wait for a silent iopub.

They have attached once nothing has come for 0.2 s, as *they* see it, and wait for ever
otherwise (jupyter_client's wait_for_ready). On a busy machine they see it late, and so do
we: so the time is counted in our own steps, of which a late one counts little more than one
in time.
"""

import math

from .clock import monotonic

# A silence ends after this many times what it is to last, however late our steps are.
_MOST = 6


class Silence:
    """The clients that wait. ``begin`` and ``end`` from any thread, the rest from one."""

    def __init__(self) -> None:
        # of each session: seconds left, counted until when, end at the latest
        self._waiting: dict[str, tuple[float, float, float]] = {}

    def begin(self, session: str, seconds: float) -> None:
        """Be silent for ``session``'s client, from now on and anew."""
        now = monotonic()
        self._waiting[session] = (seconds, now, now + _MOST * seconds)

    def end(self, session: str) -> bool:
        """``session``'s client does not wait any more; tell whether it did."""
        return self._waiting.pop(session, None) is not None

    def lasts(self, longest: float = math.inf) -> bool:
        """Tell whether anybody waits.

        Args:
            longest: seconds that may count of the time since the last call.
        """
        now = monotonic()
        for session, entry in list(self._waiting.items()):
            left, since, end = entry
            left -= min(now - since, longest)
            following = (left, now, end) if left > 0 and now < end else None
            if self._waiting.get(session) is not entry:  # it began anew meanwhile
                continue
            if following is None:
                self._waiting.pop(session, None)
            else:
                self._waiting[session] = following
        return bool(self._waiting)
