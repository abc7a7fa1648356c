"""Programs that put something of their own in the place of what a kernel needs."""

import subprocess

import pytest
from harness import Client, Launcher, Program, wait_for

# A program that replaces TARGET, before it says that it is ready or after the first line that it
# is told, and prints a line for the next one.
REPLACER = """
import fcntl, json, os, posix, queue, socket, subprocess, sys, threading, time
from unittest import mock

def told():
    while (letter := posix.read(0, 1)) != b"\\n":
        if not letter:
            sys.exit("too soon")

def replace():
    mock.patch(TARGET, **OPTIONS).start()
    posix.write(1, b"replaced\\n")

if LATE:
    posix.write(1, b"ready\\n")
    told()
replace()
told()
print("hello", flush=True)
told()
mock.patch.stopall()
print("end")
"""

FORBIDDEN = "{'side_effect': RuntimeError('forbidden')}"


def start(launch: Launcher, target: str, options: str = "{}", late: bool = False) -> Program:
    source = REPLACER.replace("TARGET", repr(target)).replace("OPTIONS", options)
    return launch(source.replace("LATE", str(late)), stdin=subprocess.PIPE)


def tell(program: Program) -> None:
    assert program.process.stdin is not None
    program.process.stdin.write(b"\n")
    program.process.stdin.flush()


def text_until(client: Client, end: str) -> str:
    text = ""
    while end not in text:
        text += client.iopub("stream")["content"]["text"]
    return text


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("builtins.open", "{}"),
        ("builtins.open", FORBIDDEN),
        ("json.dumps", "{'return_value': '{}'}"),
        ("fcntl.fcntl", "{}"),
        ("os.close", "{}"),
        ("os.getpid", "{'return_value': 1}"),
        ("os.listdir", "{'return_value': ['a']}"),
        ("os.open", "{}"),
        ("queue.Queue", "{}"),
        ("socket.socket", FORBIDDEN),
        ("socket.socketpair", FORBIDDEN),
        ("threading.Event", "{}"),
        ("threading.Thread", "{}"),
        ("threading.Thread", "{'autospec': True}"),
        ("time.monotonic", "{'return_value': 0.0}"),
    ],
)
def test_what_a_kernel_needs_may_be_replaced_before_somebody_attaches(
    launch: Launcher, target: str, options: str
) -> None:
    program = start(launch, target, options)
    program.wait_for_output("replaced")
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
        assert client.run("import time; time.sleep(0.01); 'slept'").result == "'slept'"
        tell(program)
        text_until(client, "hello\n")
        tell(program)
        assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("replaced\nhello\nend\n", "")


@pytest.mark.parametrize(
    "target", ["builtins.open", "json.dumps", "json.loads", "os.open", "fcntl.fcntl"]
)
def test_what_a_kernel_needs_may_be_replaced_while_somebody_is_attached(
    launch: Launcher, target: str
) -> None:
    program = start(launch, target, late=True)
    with program.client() as client:
        assert client.run("import threading").status == "ok"
        tell(program)
        program.wait_for_output("replaced")
        thread = "thread = threading.Thread(target=int); thread.start(); thread.join(); 42"
        assert client.run(thread).result == "42"
        tell(program)
        text_until(client, "hello\n")
        tell(program)
        assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("ready\nreplaced\nhello\nend\n", "")


def test_who_lets_nothing_be_imported_hears_nothing_of_a_client(launch: Launcher) -> None:
    program = start(launch, "builtins.__import__", FORBIDDEN)
    program.wait_for_output("replaced")
    file = program.connection_file
    with program.client(ready=False):
        wait_for(lambda: not file.exists(), "the console to be given up")
    tell(program)
    tell(program)
    assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("replaced\nhello\nend\n", "")


def test_what_a_magic_prints_is_for_its_client_alone(launch: Launcher) -> None:
    program = start(launch, "builtins.print")
    program.wait_for_output("replaced")
    with program.client() as client:
        assert "MainThread" in client.run("%threads").stdout
        assert client.run("print.call_count").result == "0"


def test_a_socket_that_is_asked_for_an_option_calls_no_import_of_the_programs(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import builtins, sys

        original, callers = builtins.__import__, []

        def counting(name, names=None, *rest):
            callers.append((names or {}).get("__name__"))
            return original(name, names, *rest)

        sys.stdin.readline()
        builtins.__import__ = counting
        print("replaced", flush=True)
        sys.stdin.read()
        """,
        stdin=subprocess.PIPE,
    )
    with program.client() as client:
        client.run("1")
        tell(program)
        program.wait_for_output("replaced")
        client.run("2")
        assert client.value("callers.count('zmq.sugar.attrsettr')") == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            """
            @property
            def write(self):
                return note
            """,
            id="a property",
        ),
        pytest.param(
            """
            __slots__ = ("__weakref__",)
            __dict__ = property(lambda self: {})

            def write(self, text):
                note(text)
            """,
            id="a dict made anew each time",
        ),
        pytest.param(
            """
            def __getattribute__(self, name):
                if name != "write":
                    raise RuntimeError(name)
                return note
            """,
            id="asked for anything else it raises",
        ),
        pytest.param(
            """
            def write(self, text):
                note(text)

            def __bool__(self):
                note("asked")
                return True
            """,
            id="it notes who asks whether it is true",
        ),
    ],
)
def test_streams_of_the_oddest_kinds_are_mirrored(launch: Launcher, body: str) -> None:
    program = launch(
        f"""
import sys

noted = []

def note(text):
    noted.append(text)
    return len(text)

class Stream:
{body}

sys.stdout = Stream()
for line in sys.stdin:
    print("hello")
sys.stdout = sys.__stdout__
print(noted)
        """,
        stdin=subprocess.PIPE,
    )
    with program.client() as client:
        assert client.run("print('from a cell')").stdout == "from a cell\n"
        tell(program)
        text_until(client, "hello\n")
    with program.client() as client:
        assert program.process.stdin is not None
        program.process.stdin.close()
        assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("['hello', '\\n']\n", "")


def test_the_interpreters_own_streams_may_be_gone(launch: Launcher) -> None:
    program = launch(
        """
        import sys

        del sys.__stdout__, sys.__stderr__
        for line in sys.stdin:
            print("hello", flush=True)
        """,
        stdin=subprocess.PIPE,
    )
    with program.client() as client:
        assert client.run("print('from a cell')").stdout == "from a cell\n"
        tell(program)
        text_until(client, "hello\n")


@pytest.mark.parametrize("name", ["any", "iter", "map"])
def test_a_fork_returns_whatever_builtins_are_replaced(launch: Launcher, name: str) -> None:
    program = launch(
        f"""
        import os
        from unittest import mock

        replaced = mock.patch("builtins.{name}", side_effect=RuntimeError)
        replaced.start()
        child = os.fork()
        replaced.stop()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        print("parent")
        """
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout == "parent\n"
