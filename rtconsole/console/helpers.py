"""Other programs that get the terminal for a while: a pager, an editor."""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from typing import Any

from prompt_toolkit.application import in_terminal

from .lines import harmless, without_colours
from .prompt import Prompt
from .screen import Screen


async def obey(payload: dict[str, Any], prompt: Prompt, screen: Screen) -> None:
    """Do what a cell asks its frontend for."""
    source = payload.get("source")
    if source == "page":
        await page(screen, str(payload["data"].get("text/plain", "")))
    elif source == "set_next_input":
        prompt.put(str(payload.get("text", "")))
    elif source == "edit_magic":
        filename = os.path.abspath(str(payload["filename"]))
        if not os.path.isdir(os.path.dirname(filename)):  # of a container, or over ssh
            screen.note(f"({filename} is not on this machine: it cannot be edited here)")
            return
        text = await edit(filename, int(payload["line_number"] or 0))
        if text is not None and text.strip():
            prompt.put(text)  # Enter runs it
    elif source == "ask_exit":
        prompt.stop()


async def page(screen: Screen, text: str) -> None:
    """Show ``text``: in a pager if it is longer than the terminal, else above the prompt."""
    text = harmless(text.rstrip("\n"))
    width = max(1, screen.columns)
    rows = sum(1 + len(without_colours(line)) // width for line in text.split("\n"))
    command = _pager()
    if rows < screen.rows - 2 or not command:
        screen.show(text)
        return
    env = {"LESS": "-RX", **os.environ}
    await _run(command, env, (text if screen.has_colours else without_colours(text)) + "\n")


def _pager() -> list[str]:
    if command := _words(os.environ.get("PAGER", "")):
        return command
    return next(([found] for name in ("less", "more") if (found := shutil.which(name))), [])


async def edit(filename: str, line: int) -> str | None:
    """Have a file edited in ``$VISUAL`` or ``$EDITOR``, and return its text; None if it failed."""
    filename = os.path.abspath(filename)  # the kernel's word, perhaps another user's: no option
    chosen = (_words(os.environ.get(name, "")) for name in ("VISUAL", "EDITOR"))
    editor = next(filter(None, chosen), ["vi"])
    name = os.path.basename(editor[0])
    # the editors that know how to open a file at a line
    at = [f"+{line}"] if line and name in ("vi", "vim", "nvim", "nano", "emacs", "joe") else []
    if not await _run([*editor, *at, filename], dict(os.environ), None):
        return None
    try:
        with open(filename, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeError):
        return None


def _words(command: str) -> list[str]:
    """Return a command line as words; what is none as a single one, for the error to name it."""
    try:
        return shlex.split(command)
    except ValueError:  # a quotation without an end
        return [command]


async def _run(command: list[str], env: dict[str, str], text: str | None) -> bool:
    """Run ``command`` on the terminal; tell whether it succeeded."""

    def run() -> bool:
        options: dict[str, Any] = {"env": env, "check": False}
        if text is not None:
            options |= {"input": text, "text": True, "errors": "replace"}
        try:
            return subprocess.run(command, **options).returncode == 0
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            return False

    async with in_terminal():
        try:
            return await asyncio.to_thread(run)
        finally:
            await _hear_signals()


async def _hear_signals() -> None:
    """Have the loop call its handlers of all signals that came until now.

    A key of the terminal's that is a signal comes to both of us. Who gets no processor may learn of
    it together with the end of the program that it was meant for. In its next turn the loop reads
    which signals came (asyncio/unix_events.py), the handlers are called in the turn after that.
    """
    for _ in range(3):
        await asyncio.sleep(0)
