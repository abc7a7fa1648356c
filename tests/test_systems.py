"""What is decided differently on macOS and Windows; the platform is a parameter everywhere.

None of it is run there: see the README.
"""

import _socket
import os
import stat
from types import SimpleNamespace

import pytest

from rtconsole import descriptors, diagnosis, hook, renewal, settings, unusual
from rtconsole.kernel import audit
from rtconsole.listener import Listener


@pytest.mark.parametrize(
    ("platform", "transport", "noted"),
    [("linux", "ipc", False), ("darwin", "ipc", False), ("win32", "tcp", True)],
)
def test_where_there_are_no_unix_sockets_it_is_tcp(
    platform: str, transport: str, noted: bool
) -> None:
    has = settings.has_unix_sockets(platform)
    assert settings.read({}, has).transport == transport
    asked = settings.read({"RTCONSOLE_TRANSPORT": "ipc"}, has)
    assert asked.transport == transport
    assert bool(asked.notes) is noted


def test_nobody_else_can_bind_the_same_address() -> None:
    assert unusual.address_option("win32", again=False) == "SO_EXCLUSIVEADDRUSE"
    assert unusual.address_option("win32", again=True) == "SO_EXCLUSIVEADDRUSE"
    assert unusual.address_option("linux", again=False) is None
    assert unusual.address_option("darwin", again=True) == "SO_REUSEADDR"


def test_on_windows_a_socket_is_a_handle_that_os_knows_nothing_of() -> None:
    console = Listener("program")
    handle = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).detach()
    try:
        assert renewal.far_up(console, (handle,), "win32") == (handle,)
        assert renewal.is_ours(console, handle, "win32")
        assert not renewal.is_ours(console, handle + 1, "win32")
        # as a descriptor it is known by what it is, and this one was never looked at
        assert not renewal.is_ours(console, handle, "linux")
    finally:
        _socket.close(handle)


def test_elsewhere_a_descriptor_can_be_moved_and_is_known_again() -> None:
    console = Listener("program")
    first = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).detach()
    (moved,) = renewal.far_up(console, (first,), "darwin")
    try:
        assert moved >= 200
        assert renewal.is_ours(console, moved, "darwin")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(first)
    finally:
        _socket.close(moved)


def test_where_descriptors_are_listed() -> None:
    assert descriptors.folder_of_descriptors("linux") == "/proc/self/fd"
    assert descriptors.folder_of_descriptors("darwin") == "/dev/fd"


def test_a_hidden_start_up_file_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hook.hides(stat.UF_HIDDEN, 0)
    assert hook.hides(0, stat.FILE_ATTRIBUTE_HIDDEN)
    assert not hook.hides(stat.UF_NODUMP, stat.FILE_ATTRIBUTE_ARCHIVE)
    monkeypatch.setattr(hook, "installed", lambda: ["/site/rtconsole.pth"])
    monkeypatch.setattr(hook.os, "stat", lambda path: SimpleNamespace(st_flags=stat.UF_HIDDEN))
    finding = diagnosis._hook()
    assert "chflags nohidden /site/rtconsole.pth" in str(finding)


def test_without_unix_sockets_a_cell_cannot_be_told_to_syslog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(audit.socket, "AF_UNIX")
    with pytest.raises(OSError, match="no syslog here"):
        audit.Audit("syslog", "program")._deliver("/dev/log", b"a line")
