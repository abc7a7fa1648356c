"""Whose request a shell serves next: the clients' in turn, so that none waits behind a flood."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from .intake import FREE, Pace

# Requests that wait, from which on who attaches would find no silence between them.
_CROWD = 8

# How often one may have it, at once (half of it) and then in a second: nobody else is served
# meanwhile.
_BURST, _RATE = 6, 0.5


# Where so many wait that it is a flood: how many times as long as a request took nobody is served,
# which leaves nine tenths of the time to the program (other threads work for a request, too); and
# how many seconds at most, since a cell may have slept.
_REST, _LONGEST_REST = 19, 0.05

# Turns of the loop from reading a request to its waiting for the lock.
_STEPS = 4


class _Round:
    """Requests between two of nobody's."""

    def __init__(self) -> None:
        self.clients: dict[bytes, deque[asyncio.Future[None]]] = {}
        self.last: asyncio.Future[None] | None = None  # nobody's


class FairLock:
    """Held by one request at a time, in place of the shell's ``asyncio.Lock``. For one thread.

    The requests of one client have it in the order in which they came, and the clients in turn. A
    request of nobody's has it after all that came before it, and before all that come after it: by
    such a one the original ends that queued cells are skipped, which it does after an error.

    Attributes:
        asking: the client that asks next, ``None`` for nobody; to be set right before.
        stream: returns the ``ZMQStream`` by which requests come. Those that wait in it are read
            before the next is chosen: it is first in, first out.
    """

    def __init__(self) -> None:
        self.asking: bytes | None = None
        self.stream: Callable[[], Any] = lambda: None
        self._is_locked = False
        self._holder: bytes | None = None
        self._rounds = deque([_Round()])
        self._number = 0  # of those who wait
        self._pace = Pace(_BURST, _RATE)
        self._guest: bytes | None = None  # who waits for silence
        self._until = 0.0
        self._since = 0.0  # when the holder got it
        self._pause: asyncio.TimerHandle | None = None
        self._failed: deque[bytes | None] = deque()

    def locked(self) -> bool:
        """Tell whether a request that comes now has to wait."""
        return self._is_locked

    async def __aenter__(self) -> None:
        client = self.asking
        is_guest = self._pause is not None and client is not None and client == self._guest
        if not self._is_locked or is_guest:
            self._end_pause()
            self._is_locked = True
        else:
            turn = asyncio.get_running_loop().create_future()
            self._queue(client, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it had got it already
                    self._pass_on()
                raise
        self._holder, self._since = client, asyncio.get_running_loop().time()

    async def __aexit__(self, kind: object = None, *error: object) -> None:
        if kind is GeneratorExit:  # the loop has ended, and nobody is served any more
            return
        try:
            stream = self.stream()
            if stream is not None and stream.socket.get(zmq.EVENTS) & zmq.POLLIN:
                stream.flush(zmq.POLLIN)
                for _ in range(_STEPS):
                    await asyncio.sleep(0)
        finally:
            self._pass_on()

    @property
    def is_skipping(self) -> bool:
        """Whether the holder's cell is skipped: one that the client asked for earlier has failed.

        The original skips all that wait, and other clients' with them. Set by the request that
        fails; what ends it (nobody's request) ends that of the first that failed.
        """
        return self._holder in self._failed

    @is_skipping.setter
    def is_skipping(self, begins: bool) -> None:
        if begins:
            self._failed.append(self._holder)
        elif self._failed:
            self._failed.popleft()

    def be_silent(self, seconds: float) -> None:
        """Serve nobody for so long but the client that holds it: it has to see no traffic.

        Only where many wait: between the requests of a few there is silence enough. Not if the
        client has another request waiting, nor as often as it likes.
        """
        others = self._number >= _CROWD and self._holder not in self._rounds[0].clients
        if others and not self._pace.is_short:
            self._pace.pause()
            self._guest = self._holder
            self._until = asyncio.get_running_loop().time() + seconds

    def _queue(self, client: bytes | None, turn: "asyncio.Future[None]") -> None:
        if self._rounds[-1].last is not None:
            self._rounds.append(_Round())
        self._number += 1
        if client is None:
            self._rounds[-1].last = turn
        else:
            self._rounds[-1].clients.setdefault(client, deque()).append(turn)

    def _next(self) -> "asyncio.Future[None] | None":
        """Take out whose turn it is."""
        while True:
            first = self._rounds[0]
            if first.clients:
                client, turns = next(iter(first.clients.items()))
                turn = turns.popleft()
                del first.clients[client]
                if turns:  # after the others
                    first.clients[client] = turns
            elif first.last is not None:
                turn, first.last = first.last, None
                if len(self._rounds) > 1:
                    self._rounds.popleft()
            else:
                return None
            self._number -= 1
            if not turn.done():  # cancelled
                return turn

    def _pass_on(self) -> None:
        """Let the next one have it: at once, or after a pause."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        pause = self._until - now if self._guest is not None else 0.0
        if self._number >= FREE:
            pause = max(pause, min(_REST * (now - self._since), _LONGEST_REST))
        if pause > 0:
            self._pause = loop.call_later(pause, self._serve_next)
        else:
            self._serve_next()

    def _serve_next(self) -> None:
        self._end_pause()
        turn = self._next()
        if turn is None:
            self._is_locked = False
        else:
            turn.set_result(None)

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self._guest = None
