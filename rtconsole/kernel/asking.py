"""Questions of a cell (``input``, a debugger) whose client has gone: nobody will answer.

A cell that waits for an answer keeps the shell from all other clients, of which most cannot
interrupt it. So the question ends, as at the end of a file.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from .interrupt import Interrupts
from .peers import Peer

# Seconds after which a client that left iopub is looked for: its connections go one by one.
_PAUSES = (0.1, 1.0)


class Questions:
    """Knows who is being asked, and ends the question if that client goes."""

    def __init__(self, interrupts: Interrupts, iopub: Any, control: Any) -> None:
        """
        Args:
            interrupts: ends what waits in C.
            iopub: the :class:`.iopub.IOPub`, which says who comes and goes.
            control: the control channel's thread.
        """
        self._interrupts = interrupts
        self._iopub = iopub
        self._control = control
        self._asked: tuple[int, Peer] | None = None  # who asks (a thread), and whom

    def ask(self, peer: Peer, question: Callable[[], str]) -> str:
        """Ask a client, and return the answer. One question at a time.

        Raises:
            EOFError: the client has gone.
        """
        if peer.has_gone():
            raise EOFError(_GONE)
        try:
            self._asked = threading.get_ident(), peer
            return question()
        except KeyboardInterrupt:
            if peer.has_gone():
                raise EOFError(_GONE) from None
            raise
        finally:
            self._asked = None

    def audience_changed(self) -> None:
        """A client came or went. In the iopub thread."""
        if self._asked is not None:
            for pause in _PAUSES:
                self._iopub.io_loop.call_later(pause, self._look)

    def _look(self) -> None:
        asked = self._asked
        if asked is not None and asked[1].has_gone():
            ending = self._interrupts.interrupt(asked[0], or_any=False)
            asyncio.run_coroutine_threadsafe(ending, self._control.io_loop.asyncio_loop)


_GONE = "the client that was asked is gone"
