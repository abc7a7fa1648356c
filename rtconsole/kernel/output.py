"""What the program and the cells print, on its way to the clients: all of it put together."""

from functools import partial
from typing import Any

from rtconsole.recorder import Recorder
from rtconsole.settings import Settings

from .iopub import IOPub, Message, Subscriber
from .mirror import Mirror
from .packing import quickly_packed
from .pieces import LARGEST, Lines, Piece, Text, dropped, split
from .publisher import Publisher

# Seconds of silence after the answer to a kernel_info_request, and at most until then:
# clients that attach need 0.2 s of it.
SILENCE = 0.35
_UNTIL_ANSWERED = 1.0

# Clients whose last cell is remembered; beyond, all are forgotten.
_MOST_CLIENTS = 1000


class Output:
    """The output of a kernel.

    Attributes:
        mirror: the hooks on the program's streams.
        publisher: sends what they collect.
        recorder: keeps the end of it.
    """

    def __init__(
        self,
        iopub: IOPub,
        session: Any,
        settings: Settings,
        recorder: Recorder,
        main_thread_id: int,
    ) -> None:
        """
        Args:
            session: the kernel's ``jupyter_client.session.Session``.
            main_thread_id: identifier of the program's main thread.
        """
        self._iopub = iopub
        self._session = session
        self._settings = settings
        self.recorder = recorder
        # header of the last cell of each client, by its process; None for any client's
        self._last: dict[int | None, dict[str, Any]] = {}
        self.publisher = Publisher(
            iopub.io_loop.asyncio_loop,
            send=self._send,
            send_earlier=lambda: iopub._handle_event([]),
            greet=self._greet,
            backlog=iopub.backlog,
            recorder=recorder,
            main_thread_id=main_thread_id,
            window=settings.window,
            limit=settings.buffer,
        )
        self.mirror = Mirror(self.publisher, settings.output)
        iopub.dropped_notice = self._dropped_notice

    # -- for the kernel, from its threads ------------------------------------------------

    def flush(self) -> None:
        """Have all text of cells on its way before whatever is sent next."""
        self._iopub.schedule(self.publisher.drain)

    def clients_wait_for_silence(self, session: str, answered: bool) -> None:
        """Hold the program's output back: a client asked for kernel_info.

        Args:
            session: the client's.
            answered: whether it has its reply, after which it waits not for long.
        """
        self.publisher.hold(session, SILENCE if answered else _UNTIL_ANSWERED)

    def client_goes_on(self, session: str) -> None:
        """A client asked for something else: it does not wait for silence any more."""
        self.publisher.release(session)

    def cell_begins(self, process: int | None) -> None:
        """Let the program's output belong to no cell, for a client that runs one now.

        So it is not mixed with the cell's own, and a tool that collects what its cells
        print collects that alone.
        """
        self._note_last(process, {})

    def cell_ends(self, header: dict[str, Any], process: int | None) -> None:
        """Let the program's output belong to this cell from now on, for its client.

        Args:
            process: pid of the client, if that is known.
        """
        self._note_last(process, header)

    def _note_last(self, process: int | None, header: dict[str, Any]) -> None:
        if self._settings.parent == "last":
            if len(self._last) > _MOST_CLIENTS:
                self._last.clear()
            self._last[process] = self._last[None] = header

    # -- in the iopub thread -------------------------------------------------------------

    def audience_changed(self) -> None:
        """A client came or went: mirror while there is one."""
        if self._settings.history and any(not s.greeted for s in self._iopub.subscribers):
            self.publisher.hold("newcomer", SILENCE)
            self.publisher.has_newcomers = True
            self.publisher.wake()
        is_heard = bool(self._iopub.subscribers)
        self.mirror.listen(is_heard)
        if not is_heard:
            self.say_all()  # to be kept before what is written from now on

    def say_all(self) -> None:
        """Send what the program has written until now; nobody holds it back any more."""
        self.publisher.drain()
        self.publisher.drain_program()

    def _greet(self) -> None:
        """Show those who just came what was kept (RTCONSOLE_HISTORY)."""
        for newcomer in self._iopub.subscribers:
            if newcomer.greeted:
                continue
            newcomer.greeted = True
            for stream, text in self.recorder.kept() if self._settings.history else ():
                metadata = Piece(stream, None, "").metadata(kept=True)
                for part in split(text):
                    for message in self._messages(Text(stream, part, {}, metadata)):
                        self._iopub.send_to(newcomer, message)

    def _send(self, item: Text) -> None:
        """Send a stream message: a cell's to all, the program's to each as it shows it best."""
        if item.parent is not None:
            for message in self._messages(item):
                self._iopub.publish(message)
            return
        tailing = {tail.process for tail in self.publisher.tails} - {None}
        made: dict[str, list[Message]] = {}

        def make(subscriber: Subscriber | None) -> list[Message]:
            if subscriber is not None and subscriber.process in tailing:
                return []  # its %tail chooses what it sees
            parent = self._parent_for(subscriber)
            key = parent.get("msg_id", "")
            if key not in made:
                made[key] = self._messages(item._replace(parent=parent))
            return made[key]

        self._iopub.publish_each(make)

    def _parent_for(self, subscriber: Subscriber | None) -> dict[str, Any]:
        """Return the header of a client's last cell; an empty one if none has ended.

        Frontends show what belongs to a cell of their own, and most show what belongs to
        none; what belongs to another client's cell few do. A client whose process is not
        known (tcp) is taken for the one that ran the last cell.
        """
        process = None if subscriber is None else subscriber.process
        return self._last.get(process, {})

    def _messages(self, item: Text) -> list[Message]:
        """Return a stream message; several, if its JSON text would be larger than ``LARGEST``."""
        content: Any = quickly_packed(item.stream, item.text)
        if content is None:
            content = {"name": item.stream, "text": item.text}
        message = self._session.msg("stream", content, item.parent or {}, metadata=item.metadata)
        frames = self._session.serialize(message, ident=f"stream.{item.stream}".encode())
        if len(frames[-1]) <= LARGEST or len(item.text) < 2:
            return [Message(frames, partial(_lines, item))]
        middle = len(item.text) // 2
        halves = item.text[:middle], item.text[middle:]
        return [part for half in halves for part in self._messages(item._replace(text=half))]

    def _dropped_notice(self, lines: int) -> Message:
        metadata = Piece("stderr", None, "").metadata(dropped=lines)
        return self._messages(Text("stderr", dropped(lines), {}, metadata))[0]._replace(output=None)


def _lines(item: Text) -> Lines:
    lines = Lines.of(item.stream, item.text)
    missing = item.metadata.get("rtconsole", {}).get("dropped")  # a notice, itself dropped
    return lines if missing is None else lines._replace(ends=missing)
