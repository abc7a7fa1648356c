"""With what clients say on iopub, where they have only to subscribe, and how often.

To read slowly would not do there: libzmq takes in all that comes (4.3.5, xpub.cpp), and who
subscribes meanwhile waits behind it. So who goes on and on is hung up on.
"""

from .intake import Pace
from .peers import hang_up, identity

# Subscriptions of one connection. A client needs one.
_MOST = 50

# Clients that were hung up on, before others are let in slowly, and then in a second: one has
# said thousands of things by the time that it is heard, each of which is read.
_BURST, _RATE = 5, 0.5


class Patience:
    """How much each connection has said. For one thread, but for what tells how it is going.

    Attributes:
        is_behind: what somebody has said who was hung up on may not be read to the end. Nobody is
            to be let in before: it would be taken for the words of who gets the descriptor.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[int, object], int] = {}
        self._hung_up = Pace(_BURST, _RATE)
        self.is_behind = False

    def is_harassed(self) -> bool:
        """Tell whether somebody comes again and again to be hung up on."""
        return self._hung_up.is_short

    def bears_with(self, fd: int, is_junk: bool, address: object) -> bool:
        """Count what a connection says; false for a client that goes on and on, or is gone.

        Args:
            is_junk: it is no subscription at all.
            address: at which it was accepted.
        """
        connection = fd, identity(fd)
        if connection[1] is None:
            return False
        if len(self._said) > 4 * _MOST:
            self._said.clear()
        before = self._said.get(connection, 0)
        said = self._said[connection] = before + (_MOST if is_junk else 1)
        if said < _MOST:
            return True
        if before < _MOST:
            self._hung_up.pause()
            self.is_behind = True
            hang_up(fd, address)
        return False
