"""The iopub channel: each message to each client, and none of them waits for another.

A plain XPUB socket drops messages for whoever reads too slowly, without a word, or stops
for all. Here the socket only carries: each client is sent its messages under a tag of its
own (ZMQ_XPUB_MANUAL, https://libzmq.readthedocs.io/en/latest/zmq_setsockopt.html), so
that a full queue is one client's (ZMQ_XPUB_NODROP), and what that client cannot take yet
is kept for it here, up to a limit, from which on the oldest output is dropped.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import zmq
from ipykernel.iostream import IOPubThread

from .patience import Patience
from .peers import UNTOLD, Peer, address_of, connection_of, hang_up, identity, peer_of
from .pieces import CUT, Lines, Loss
from .untold import Subscribers

# Messages in libzmq's queue to one client, at most; what is more waits here, where it is counted
# in bytes. With a shorter queue a client that nearly keeps up with a flood would lose some of it.
_QUEUE_LENGTH = 32

# Seconds until a client whose queue is full is tried again, at first and at most.
_RETRY, _LONGEST_RETRY = 0.005, 0.25


# What clients say that is heard before something else is done.
_AT_ONCE = 100


class Message(NamedTuple):
    """A serialized message.

    Attributes:
        frames: as for ``send_multipart``; the last is the content.
        output: returns the lines of output in it, which may be dropped. To count them is dear,
            and hardly ever asked for.
    """

    frames: list[Any]
    output: Callable[[], Lines] | None = None

    @property
    def size(self) -> int:
        return sum(len(frame) for frame in self.frames)

    def counted(self) -> "Message":
        """Return a message that keeps the number of its lines, and not their text."""
        if self.output is None:
            return self
        lines = self.output()
        return self._replace(output=lambda: lines)


class Subscriber:
    """One client's subscription to everything, and what waits for that client.

    Attributes:
        fd: of its connection, -1 if that is not known.
        process: pid of the client, if that is known.
        greeted: whether it was sent what was kept from before it came.
    """

    def __init__(self, tag: bytes, peer: Peer) -> None:
        self.tag = tag
        self.fd = peer.fd
        self.process = peer.pid
        self._identity = peer.identity
        self.greeted = False
        self.waiting: deque[Message] = deque()
        self.size = 0  # of what waits, in bytes
        self.lost = Loss()

    def is_there(self) -> bool:
        """Tell whether the connection is; its descriptor may be somebody else's by now."""
        return self._identity is not None and identity(self.fd) == self._identity

    def keep(self, message: Message, limit: int) -> None:
        """Let ``message`` wait, and drop the oldest output over ``limit`` bytes.

        Messages that are no output (a reply's status, a result) are dropped only if these
        alone are more than the limit.
        """
        self.waiting.append(message.counted())
        self.size += message.size
        if self.size <= limit:
            return
        rest = []
        while self.size > limit and self.waiting:
            old = self.waiting.popleft()
            if old.output is None:
                rest.append(old)
            else:
                self.size -= old.size
                self.lost.add(old.output())
        while self.size > limit and rest:
            self.size -= rest.pop(0).size
        self.waiting.extendleft(reversed(rest))


class IOPub(IOPubThread):
    """The iopub channel's thread. What is not said to be callable elsewhere runs in it.

    Attributes:
        subscribers: the clients that are connected.
        on_change: called when a client came or went.
        dropped_notice: makes the message that says how many lines were dropped.
        patience: with what clients say.
    """

    on_change: Callable[[], None]
    dropped_notice: Callable[[int], Message]

    def __init__(self, socket: Any, limit: int, **options: Any) -> None:
        """
        Args:
            socket: a bound XPUB socket, made with :func:`prepare`.
            limit: bytes that may wait for one client, with what is in libzmq's queue.
        """
        self.subscribers: list[Subscriber] = []
        self._queued = _queue_length(limit) * CUT
        self._limit = limit - self._queued
        self._plain: list[bytes] = []
        self._serial = 0
        self._address = address_of(socket)
        self._untold = Subscribers(self._address)
        self._retry = _RETRY
        self._retrying = False
        self._is_sure = True  # whose turn it is, see `_hear`
        self.on_change = lambda: None
        self.patience = Patience()
        super().__init__(socket, **options)

    def start(self) -> None:
        """Start without ``atexit``: the original would stop at exit, waiting for up to 30 s."""
        self.thread.start()

    async def _run_event_pipe_gc(self) -> None:
        """Do not wake every ten seconds to look for threads that ended."""

    def _setup_event_pipe(self) -> None:
        """Not needed: see :meth:`schedule`."""

    def schedule(self, function: Callable[[], None]) -> None:
        """Call ``function`` in this thread, soon. From any thread.

        The original makes a ZMQ socket in each thread that asks. The program's main thread asks
        at its end, when it may have closed stdout: the socket would get that number, and what
        the interpreter has still to write.
        """
        if self.thread.is_alive():
            self._events.append(function)
            try:
                self.io_loop.asyncio_loop.call_soon_threadsafe(self._handle_event, None)
            except RuntimeError:  # closed meanwhile
                pass
        else:
            function()

    # -- who is there ------------------------------------------------------------------

    def _setup_xpub_listener(self) -> None:
        """Read subscriptions from the socket itself.

        The original's ZMQStream is not told of one that comes in while a message is sent
        (https://zguide.zeromq.org, edge-triggered ZMQ_FD), and hands on no connection.
        """
        self.io_loop.asyncio_loop.add_reader(self.socket.FD, self._hear)

    def _hear(self) -> None:
        """Enter clients that subscribe, and see which have gone.

        A subscription is answered to the connection that libzmq takes what was read last to
        be from. Messages that are none of its business (junk, on a channel that takes none)
        are counted there like subscriptions: from one on until all is read that has come in,
        nobody can tell whose turn it is, and who subscribes has to connect once more.
        """
        for _ in range(_AT_ONCE):
            if self.closed or not self.socket.EVENTS & zmq.POLLIN:
                self._is_sure, self.patience.is_behind = True, False
                return
            self._hear_one()
        self.io_loop.add_callback(self._hear)

    def _hear_one(self) -> None:
        frame = self.socket.recv(zmq.NOBLOCK, copy=False)
        data = frame.bytes
        event, topic = data[:1], data[1:]
        fd = connection_of(frame)  # -1 if it is closed
        is_junk = event not in (b"\0", b"\x01")
        self._is_sure = self._is_sure and not is_junk
        peer = self._untold.next() if fd == UNTOLD and event == b"\x01" else None
        if peer is not None:
            fd = peer.fd
        # nobody in particular is heard out: who says too much is then among several
        is_nobody = peer is not None and fd < 0
        is_heard = is_nobody or self.patience.bears_with(fd, is_junk, self._address)
        if event == b"\x01" and is_heard:
            if not self._is_sure:
                hang_up(fd, self._address)
            else:
                self._enter(peer or peer_of(fd)) if not topic else self._enter_plainly(fd, topic)
        elif event == b"\0" and not topic:
            self._leave(max(fd, -1))
        elif event == b"\0" and topic in self._plain:
            self._plain.remove(topic)

    def _enter_plainly(self, fd: int, topic: bytes) -> None:
        """Serve a subscription to some topics only as XPUB does, with drops; none is known."""
        if fd < 0 or all(known.fd != fd for known in self.subscribers):
            self._plain.append(topic)
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)
            self._broadcast([topic, *self._welcome(topic).frames])

    def _enter(self, peer: Peer) -> None:
        self._serial += 1
        new = Subscriber(b"\0%d:" % self._serial, peer)
        self.socket.setsockopt(zmq.SUBSCRIBE, new.tag)
        self._give(new, self._welcome(b""))
        self.subscribers.append(new)
        self.on_change()

    def _leave(self, fd: int, patience: int = 20) -> None:
        """Drop who is gone: the one who said so, or whose connection is closed."""
        if fd >= 0:
            for known in self.subscribers:
                if known.fd == fd:
                    self.socket.setsockopt(zmq.UNSUBSCRIBE, known.tag)
            staying = [known for known in self.subscribers if known.fd != fd]
        else:
            lowest = 0 if self._untold.may_be_there() else -1  # -1 is who cannot be told
            staying = [one for one in self.subscribers if one.is_there() or one.fd < lowest]
        if len(staying) < len(self.subscribers):
            self.subscribers = staying
            self.on_change()
        elif patience and self.subscribers:  # libzmq is about to close it
            self.io_loop.call_later(0.05, self._leave, -1, patience - 1)

    def _welcome(self, topic: bytes) -> Message:
        content = {"subscription": topic.decode("utf-8", "replace")}
        return Message(self.session.serialize(self.session.msg("iopub_welcome", content)))

    # -- sending -----------------------------------------------------------------------

    def then(self, function: Callable[[], None]) -> None:
        """Have ``function`` called right after the next message that this thread sends.

        In the iopub thread, with no other message in between.
        """
        self._local.then = function

    def send_multipart(self, *arguments: Any, **options: Any) -> None:
        """As the original, but see :meth:`then`. From any thread."""
        function = self._local.__dict__.pop("then", None)
        if function is None:
            super().send_multipart(*arguments, **options)
            return

        def send() -> None:
            self._really_send(*arguments, **options)
            function()

        self.schedule(send)

    def _really_send(self, msg: list[Any], *arguments: Any, **options: Any) -> None:
        """Send a message to all; the original's options (copy, track) do not matter here."""
        self.publish(Message(msg))

    def publish(self, message: Message) -> None:
        """Send a message to every client, or keep it for those that are slow."""
        self.publish_each(lambda _: [message])

    def publish_each(self, make: Callable[[Subscriber | None], list[Message]]) -> None:
        """Send each client its own version of some messages.

        Args:
            make: returns them; for ``None`` those for clients that are not addressed one by
                one.
        """
        if self.closed:
            return
        for subscriber in self.subscribers:
            for message in make(subscriber):
                self._give(subscriber, message)
        if self._plain:
            for message in make(None):
                self._broadcast(message.frames)
        self._hear()  # sending takes the notice of what came in meanwhile

    def send_to(self, subscriber: Subscriber, message: Message) -> None:
        """Send a message to one client."""
        if not self.closed:
            self._give(subscriber, message)
            self.io_loop.asyncio_loop.call_soon(self._hear)  # as above

    def backlog(self) -> int:
        """Return how many bytes wait for every client at least: 0 if one keeps up."""
        if self._plain:
            return 0
        sizes = (each.size + self._queued if each.waiting else 0 for each in self.subscribers)
        return min(sizes, default=0)

    def _broadcast(self, frames: list[Any]) -> None:
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            pass  # one of them is slow: as with XPUB, nobody waits for it

    def _give(self, subscriber: Subscriber, message: Message) -> None:
        if subscriber.waiting or not self._sent(subscriber, message):
            subscriber.keep(message, self._limit)
            if not self._retrying:
                self._retrying = True
                self._retry = _RETRY
                self.io_loop.call_later(self._retry, self._try_again)

    def _sent(self, subscriber: Subscriber, message: Message) -> bool:
        """Send, unless the client's queue is full."""
        try:  # the tag is one more identity, which clients skip
            self.socket.send_multipart([subscriber.tag, *message.frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        if subscriber.lost.is_amid and message.output is not None:
            subscriber.lost.passed(message.output())
        return True

    def _try_again(self) -> None:
        """Send what waits, as far as it can be sent; those who take nothing, less often."""
        self._retrying = False
        if self.closed:
            return
        progress = slow = False
        for subscriber in self.subscribers:
            while subscriber.waiting:
                if subscriber.lost.lines:
                    if not self._sent(subscriber, self.dropped_notice(subscriber.lost.lines)):
                        break
                    subscriber.lost.lines = 0
                if not self._sent(subscriber, subscriber.waiting[0]):
                    break
                subscriber.size -= subscriber.waiting.popleft().size
                progress = True
            slow = slow or bool(subscriber.waiting)
        self._hear()
        if slow:
            self._retrying = True
            self._retry = _RETRY if progress else min(2 * self._retry, _LONGEST_RETRY)
            self.io_loop.call_later(self._retry, self._try_again)


def prepare(socket: Any, limit: int) -> None:
    """Set the options of a socket that is to be an :class:`IOPub`'s, before it is bound."""
    socket.setsockopt(zmq.XPUB_MANUAL, 1)
    socket.setsockopt(zmq.XPUB_NODROP, 1)
    socket.sndhwm = _queue_length(limit)
    socket.rcvhwm = 1  # what waits with libzmq is beyond our reach: see .patience


def _queue_length(limit: int) -> int:
    """Return how many messages are half of the limit, if they are as large as a flood's are."""
    return min(_QUEUE_LENGTH, limit // 2 // CUT)
