"""Commands with odd standard streams and sources: one clear line, and no traceback."""

import os
import subprocess
from pathlib import Path

import pytest
from commands import argv, complaint, run
from harness import PATIENCE, Launcher, Program


def redirected(
    launch: Launcher, redirection: str, *words: str
) -> "subprocess.CompletedProcess[str]":
    """Run ``rtconsole`` with a shell's redirection."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *argv(*words)],
        env=launch.environment(RTCONSOLE=None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def test_streams_that_are_closed_are_as_nothing(launch: Launcher, counter: Program) -> None:
    pid = str(counter.pid)
    assert redirected(launch, "<&-", "attach", pid).returncode == 2
    empty = redirected(launch, "<&-", "exec", pid, "-")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "")
    unheard = redirected(launch, ">&-", "exec", pid, "print(1); 6 * 7")
    assert (unheard.returncode, unheard.stderr) == (0, "")
    unseen = redirected(launch, ">&-", "list")
    assert (unseen.returncode, unseen.stderr) == (0, "")
    assert redirected(launch, ">&- 2>&-", "exec", pid, "1 / 0").returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_said_in_a_line(launch: Launcher, counter: Program) -> None:
    for words in (["exec", str(counter.pid), "6 * 7"], ["list"]):
        done = redirected(launch, ">/dev/full", *words)
        assert done.returncode == 1
        assert complaint(done) == "[Errno 28] No space left on device"


def test_code_is_read_as_python_reads_its_source(
    launch: Launcher, counter: Program, tmp_path: Path
) -> None:
    source = tmp_path / "source.py"
    pid = str(counter.pid)
    latin = "print('\xe9')\r\nprint(2)\r\n".encode("latin-1")
    for data, printed in (
        (b"\xef\xbb\xbfprint(1)\n", "1\n"),  # a byte order mark
        (b"# -*- coding: latin-1 -*-\n" + latin, "\xe9\n2\n"),
    ):
        source.write_bytes(data)
        assert run(launch, "exec", pid, "-f", source).stdout == printed
        piped = redirected(launch, f"<{source}", "exec", pid, "-")
        assert piped.stdout == printed, piped.stderr
    source.write_bytes(latin)
    assert complaint(redirected(launch, f"<{source}", "exec", pid, "-")).startswith(
        "standard input is not Python source as text: "
    )
    done = run(launch, "exec", pid, "-f", source)
    assert done.returncode == 2
    assert complaint(done).startswith(f"{source} is not Python source as text: ")


def test_an_empty_name_is_no_process(launch: Launcher, counter: Program) -> None:
    # "$PID" where it is not set: the code would run in the only process there is
    for words in (["exec", "", "print(1)"], ["stack", " "], ["interrupt", ""]):
        done = run(launch, *words)
        assert done.returncode == 2
        assert complaint(done) == "the name of the process is empty; is a variable not set?"


def test_help_on_an_object_is_output(launch: Launcher, counter: Program) -> None:
    done = run(launch, "exec", str(counter.pid), "hello?")
    assert done.returncode == 0
    assert "Return what comes after x." in done.stdout


def test_a_cell_whose_reader_is_gone_is_interrupted(launch: Launcher, counter: Program) -> None:
    done = redirected(
        launch,
        "| head -n 1 >&2",
        *("exec", str(counter.pid), "while True: print('more')"),
    )
    assert done.stderr == "more\n"
    after = run(launch, "exec", "--timeout", str(PATIENCE), str(counter.pid), "6 * 7")
    assert after.stdout == "42\n", after


def test_a_reader_that_is_gone_is_not_code_that_raised(launch: Launcher, counter: Program) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as nobody_reads:
        done = subprocess.run(
            argv("exec", str(counter.pid), "print('lost')"),
            env=launch.environment(RTCONSOLE=None),
            stdin=subprocess.DEVNULL,
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            timeout=2 * PATIENCE,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_usage_error_is_said_once(launch: Launcher, counter: Program) -> None:
    done = run(launch, "exec", str(counter.pid), "%psearch -x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("UsageError: ") == 1


def test_messages_that_cannot_be_read_are_dropped(launch: Launcher, counter: Program) -> None:
    code = """
socket = get_ipython().kernel.iopub_socket
socket.send_multipart([b'stream', b'<IDS|MSG>', b'no signature', b'{}', b'{}', b'{}', b'{}'])
socket.send_multipart([b'stream'])
print('after')
"""
    done = run(launch, "exec", str(counter.pid), code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "after\n", "")
