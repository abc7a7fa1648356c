"""The status in the connection file: what state, how many clients, always valid JSON."""

import json
import os
import signal
import threading

from commands import status, wait_for_status
from harness import Launcher, Program, wait_for

SLEEP = "import time\nwhile True: time.sleep(0.1)"


def test_it_follows_the_kernel_and_its_clients(launch: Launcher) -> None:
    program = launch(SLEEP)
    path = program.connection_file
    before = path.stat()
    assert status(program) == "dormant 0"
    with program.client() as first:
        wait_for_status(program, "idle 1")
        with program.client() as second:
            wait_for_status(program, "idle 2")
            request = second.send("import time\nwhile True: time.sleep(0.01)")
            wait_for_status(program, "busy 2")
            first.interrupt()
            second.finish(request)
            wait_for_status(program, "idle 2")
        wait_for_status(program, "idle 1")
    wait_for_status(program, "idle 0")
    after = path.stat()
    assert (after.st_size, after.st_ino, after.st_mode) == (
        before.st_size,
        before.st_ino,
        before.st_mode,
    )


def test_a_client_that_is_killed_is_counted_no_more(launch: Launcher) -> None:
    program = launch(SLEEP)
    code = (
        "import sys, jupyter_client\n"
        "client = jupyter_client.BlockingKernelClient()\n"
        "client.load_connection_file(sys.argv[1]); client.start_channels()\n"
        "while True:\n"
        "    try: client.wait_for_ready(); break\n"
        "    except RuntimeError: pass  # starved, it takes the kernel for dead\n"
        "print('there', flush=True); input()"
    )
    read, write = os.pipe()
    other = launch(
        code, str(program.connection_file), env={"RTCONSOLE": None}, name="client.py", stdin=read
    )
    other.wait_for_output("there")
    wait_for_status(program, "idle 1")
    other.signal(signal.SIGKILL)
    wait_for_status(program, "idle 0")
    os.close(read)
    os.close(write)


def test_a_reader_finds_valid_json_at_any_moment(launch: Launcher) -> None:
    program = launch(SLEEP)
    path, ended = program.connection_file, threading.Event()
    seen: set[str] = set()

    def look() -> None:
        while not ended.wait(0.0002):  # the client needs this process too
            seen.add(json.loads(path.read_bytes())["rtconsole"]["status"])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        with program.client() as client:
            for _ in range(50):
                client.run("1")
    finally:
        ended.set()
        reader.join()
    assert {text.split()[0] for text in seen} <= {"dormant", "idle", "busy"}
    assert {len(text) for text in seen} == {12}


def test_a_file_that_was_removed_or_replaced_is_left_alone(launch: Launcher) -> None:
    program = launch(SLEEP)
    path = program.connection_file
    ours = path.read_text()
    other = launch.home / "other.txt"
    with program.client() as client:
        path.unlink()
        client.run("1")
        assert not path.exists()
        path.write_text("somebody else's " * 100)
        client.run("1")
        assert path.read_text() == "somebody else's " * 100
        path.unlink()
        other.write_text(ours)
        path.symlink_to(other)
        client.run("1")
        assert other.read_text() == ours
        assert client.value("1") == 1
    assert program.is_running()


def test_a_cell_that_forks_leaves_the_parents_status_alone(launch: Launcher) -> None:
    program = launch(SLEEP)
    with program.client() as client:
        child = client.value("__import__('os').fork() or __import__('time').sleep(1000)")
        try:
            there = Program.connection_file_of(program, child)
            wait_for(there.exists, "the child's file")
            told = json.loads(there.read_text())["rtconsole"]
            assert (told["pid"], told["status"].split()) == (child, ["dormant", "0"])
            wait_for_status(program, "idle 1")
        finally:
            os.kill(child, signal.SIGKILL)


def test_writing_it_does_not_make_it_the_file_that_was_read_last(launch: Launcher) -> None:
    program = launch(SLEEP)
    path = program.connection_file
    with program.client() as client:
        os.utime(path, (1000, 2000))  # `jupyter console --existing` goes by the first
        client.run("1")
        wait_for(lambda: path.stat().st_mtime > 2000, "it to be written")
        assert path.stat().st_atime == 1000
