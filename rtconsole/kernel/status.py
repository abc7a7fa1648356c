"""What the connection file says of the kernel: its state, and how many clients are attached.

So that whoever lists the processes need not ask them, which would wake the dormant ones. The
field has a fixed width and is overwritten in place, in one write: a reader finds valid JSON
at any moment. A file that is gone, or no longer ours, is left alone. Standard library only;
what goes wrong here never reaches a cell.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from rtconsole import debuglog, descriptors
from rtconsole.debuglog import system

# `Listener.write_file` writes the first value: state, padded, and number of clients.
_BEFORE, _AFTER = b'"status": "', b'"'
_WIDTH = len("dormant    0")
_LONGEST = 1 << 22  # bytes; more than any command line


class Status:
    """The status field of this process's connection file. May be used from any thread."""

    def __init__(self, listener: Any) -> None:
        """
        Args:
            listener: the :class:`rtconsole.listener.Listener`, whose file it is.
        """
        self._listener = listener
        self._pid = system.getpid()
        self._lock = Lock()
        self._at: tuple[int, int, int] | None = None  # device, inode, offset of the field
        self._cells = 0
        self._clients = 0

    @property
    def connection_file(self) -> str:
        """The file's path, empty if there is none any more."""
        return str(self._listener.connection_file)

    @contextmanager
    def cell(self) -> Iterator[None]:
        """Be busy while the with block runs; several may overlap."""
        self.change(cells=1)
        try:
            yield
        finally:
            self.change(cells=-1)

    def clients_are(self, number: int) -> None:
        """Write how many clients are attached."""
        self.change(clients=number - self._clients)

    def change(self, cells: int = 0, clients: int = 0) -> None:
        """Add to the numbers of running cells and attached clients, and write what follows."""
        if system.getpid() != self._pid:  # a cell forked: the file is the parent's
            return
        with self._lock:
            self._cells += cells
            self._clients += clients
            try:
                self._write()
            except Exception as error:  # protects the cell: what is listed is not worth it
                debuglog.note("status not written", error)

    def _write(self) -> None:
        path = self._listener.connection_file
        if not path:
            return
        state = "busy" if self._cells > 0 else "idle"
        count = min(max(self._clients, 0), 99999)
        # O_NOATIME: `--existing` takes the file that was read last
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NOATIME", 0)
        try:
            fd = descriptors.open_above(path, flags | getattr(os, "O_NONBLOCK", 0))
        except OSError:  # gone, a link, or the program has changed its user
            return
        try:
            found = system.fstat(fd)
            if self._at is None:
                offset = self._offset(system.read(fd, _LONGEST))
                if offset is None:
                    return
                self._at = found.st_dev, found.st_ino, offset
            device, inode, offset = self._at
            if (found.st_dev, found.st_ino) != (device, inode):
                return
            around = len(_BEFORE) + _WIDTH + len(_AFTER)
            system.lseek(fd, offset - len(_BEFORE), os.SEEK_SET)  # Windows has no pread
            now = system.read(fd, around)
            if now.startswith(_BEFORE) and now.endswith(_AFTER) and len(now) == around:
                system.lseek(fd, offset, os.SEEK_SET)
                system.write(fd, f"{state:<7}{count:>5}".encode())
        finally:
            system.close(fd)

    def _offset(self, data: bytes) -> int | None:
        """Return where the field is, if ``data`` is what the listener wrote."""
        at = data.find(_BEFORE)  # in no string, where the quotes would be escaped
        if at < 0 or self._listener.info["key"].encode() not in data:
            return None
        return at + len(_BEFORE)
