"""``rtconsole attach`` on terminals, for the tests: what they share."""

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Launcher, Program
from terminal import Terminal

Attach = Callable[..., Terminal]

# A program that prints what it is told to, in the thread of that name, and says when it has.
SPEAKER = """
import json, os, sys, threading

def speak(text, stream):
    print(text, end="", file=getattr(sys, stream), flush=True)

for line in sys.stdin:
    text, stream, thread = json.loads(line)
    if thread == "MainThread":
        speak(text, stream)
    else:
        worker = threading.Thread(target=speak, args=(text, stream), name=thread)
        worker.start()
        worker.join()
    os.write(0, b"\\n")
"""


@pytest.fixture
def attach(launch: Launcher) -> Iterator[Attach]:
    """Attach a terminal: ``attach(program, "--follow", columns=20)``; waits for its prompt."""
    opened: list[Terminal] = []

    def open_one(
        target: Program | str | Path | None,
        *options: str,
        ready: bool = True,
        env: dict[str, str] | None = None,
        **size: Any,
    ) -> Terminal:
        argv = [sys.executable, "-m", "rtconsole", "attach", *options]
        if isinstance(target, Program):
            assert target.connection_file
        if target is not None:
            argv.append(str(target.pid) if isinstance(target, Program) else str(target))
        surroundings = launch.environment(RTCONSOLE=None, RTCONSOLE_DEBUG=None)
        for name in ("NO_COLOR", "TMUX", "PAGER", "EDITOR", "VISUAL", "LESS"):
            surroundings.pop(name, None)
        terminal = Terminal(argv, {**surroundings, **(env or {})}, **size)
        opened.append(terminal)
        if ready:
            terminal.expect_prompt(r"(In(\[\d+\])?:|\d>)$")
        return terminal

    try:
        yield open_one
    finally:
        for terminal in opened:
            terminal.close()


@pytest.fixture
def speaker(launch: Launcher) -> Iterator[tuple[Program, Callable[..., None]]]:
    """A program, and a function that makes it print: ``say("text\\n", "stderr", "a thread")``.

    That returns when the program's ``print`` has.
    """
    ours, its = socket.socketpair()
    with ours:
        with its:
            program = launch(SPEAKER, name="speaker.py", stdin=its)
        ours.settimeout(PATIENCE)

        def say(text: str, stream: str = "stdout", thread: str = "MainThread") -> None:
            ours.sendall(json.dumps([text, stream, thread]).encode() + b"\n")
            assert ours.recv(1) == b"\n", program.describe()

        yield program, say


def has(terminal: Terminal, pattern: str) -> bool:
    return re.search(pattern, terminal.text, re.MULTILINE) is not None
