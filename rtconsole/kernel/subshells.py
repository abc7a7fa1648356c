"""Subshells: fresh shells beside one that hangs (JEP 91), made harmless to their host.

ipykernel's own threads for them take the program's streams, and a subshell that hangs would
hang the whole kernel when it is deleted.
"""

import uuid
from functools import partial
from threading import get_ident
from typing import Any

from ipykernel.shellchannel import ShellChannelThread
from ipykernel.subshell import SubshellThread
from ipykernel.subshell_manager import SubshellManager
from ipykernel.utils import _async_in_context

from rtconsole import room

from . import hidden
from .fairness import FairLock
from .spared import Spared

# Seconds at the kernel's end for a subshell to end its cell.
_STOP_PATIENCE = 0.5


class Subshell(SubshellThread):
    """A subshell's thread; one of the console's own while it runs (see :mod:`.hostsys`)."""

    def __init__(self, name: str, context: Any, threads: set[int]) -> None:
        super().__init__(name, context, daemon=True)
        hidden.mark(self)
        self.asyncio_lock: Any = FairLock()
        self._threads = threads

    @property
    def aborting(self) -> bool:
        """Whether a cell is skipped after an error: those of the same client only."""
        return bool(self.asyncio_lock.is_skipping)

    @aborting.setter
    def aborting(self, begins: bool) -> None:
        if "asyncio_lock" in vars(self):
            self.asyncio_lock.is_skipping = begins

    def run(self) -> None:
        self._threads.add(get_ident())
        try:
            super().run()
        finally:
            self._threads.discard(get_ident())


class Subshells(SubshellManager):
    """The kernel's subshells. Runs in the shell channel's thread."""

    def __init__(self, *arguments: Any, threads: set[int], spared: Spared) -> None:
        super().__init__(*arguments)
        self._threads = threads
        self._spared = spared

    def _create_subshell(self) -> str:
        """As the original, with a thread of ours."""
        name = str(uuid.uuid4())
        with self._spared.opening():
            thread = Subshell(name, self._context, self._threads)
        with self._lock_cache:
            self._cache[name] = thread
        thread.shell_channel_to_subshell.on_recv(
            thread.io_loop, _async_in_context(partial(self._on_recv_callback, name))
        )
        thread.asyncio_lock.stream = lambda: thread.shell_channel_to_subshell.to_stream
        thread.subshell_to_shell_channel.on_recv(
            self._shell_channel_io_loop, self._send_on_shell_channel
        )
        with room.for_deep_calls():
            thread.start()
        return name

    def _delete_subshell(self, subshell_id: str) -> None:
        """Refuse while a cell runs: the original waits for its end, and the kernel with it."""
        with self._lock_cache:
            if self._get_subshell(subshell_id).asyncio_lock.locked():
                raise RuntimeError("a cell runs in this subshell; interrupt it first")
        super()._delete_subshell(subshell_id)

    def _stop_subshell(self, subshell_thread: SubshellThread) -> None:
        """Stop one, but do not wait for a cell that hangs."""
        if subshell_thread.is_alive():
            subshell_thread.stop()
            subshell_thread.join(_STOP_PATIENCE)

    def thread_of(self, subshell_id: str | None) -> int | None:
        """Return the identifier of a subshell's thread, or of the main shell's for None."""
        with self._lock_cache:
            thread = self._parent_thread if subshell_id is None else self._cache.get(subshell_id)
        return None if thread is None else thread.ident


class ShellChannel(ShellChannelThread):
    """The shell channel's thread."""

    def __init__(self, context: Any, threads: set[int], spared: Spared, **options: Any) -> None:
        """
        Args:
            threads: identifiers of the console's threads, to which those of subshells are added.
            spared: the kernel's descriptors, likewise.
        """
        super().__init__(context, **options)
        self._threads = threads
        self._spared = spared

    @property
    def manager(self) -> Subshells:
        if self._manager is None:
            self._manager: Subshells | None = Subshells(
                self._zmq_context,
                self.io_loop,
                self.shell_stream,
                threads=self._threads,
                spared=self._spared,
            )
        return self._manager
