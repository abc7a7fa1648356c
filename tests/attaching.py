"""``rtconsole attach`` on terminals, for the tests: what they share."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Client, Launcher, Program
from terminal import Terminal

from rtconsole.client import request

Attach = Callable[..., Terminal]

# A program that, when it is told to, prints as the kernel's mirror has it.
SPEAKER = """
import time
told = []
t = 0
while True:
    time.sleep(0.01)
    t += 1
    while told:
        say(*told.pop(0))
"""

SAY = """
_kernel = get_ipython().kernel
def say(text, stream="stdout"):
    _kernel.session.send(
        _kernel.iopub_socket, "stream", {"name": stream, "text": text},
        metadata={"rtconsole": {"origin": "program", "thread": "MainThread"}},
        ident=b"stream." + stream.encode(),
    )
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
    """A program, and a function that makes it print: ``say("text\\n", "stderr")``."""
    program = launch(SPEAKER, name="speaker.py")
    # awake before a client comes that takes a slow start for a dead kernel
    request(program.info, "control", "kernel_info_request", {}, PATIENCE)
    client = Client(program.connection_file).ready()
    assert client.run(SAY).status == "ok"

    def say(text: str, stream: str = "stdout") -> None:
        assert client.run(f"told.append(({text!r}, {stream!r}))").status == "ok"

    try:
        yield program, say
    finally:
        client.close()


def has(terminal: Terminal, pattern: str) -> bool:
    return re.search(pattern, terminal.text, re.MULTILINE) is not None
