"""Completions, signatures and docstrings, asked of the kernel while it is free to answer."""

from collections.abc import AsyncGenerator, Iterable
from typing import Protocol

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from rtconsole.conversation import Connection

# Seconds to wait for an answer: a slow one is worse than none.
_PATIENCE = 3.0


class Shells(Protocol):
    """Where questions go."""

    @property
    def connection(self) -> Connection: ...

    @property
    def subshell(self) -> str | None:
        """The subshell in use; None for the main one."""

    def can_ask(self) -> bool:
        """Tell whether the shell is free: it answers nothing while a cell runs."""


class KernelCompleter(Completer):
    """Completes by the program's live objects."""

    def __init__(self, shells: Shells) -> None:
        self._shells = shells

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        return []  # only asked for by what does not run in an event loop

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        if not self._shells.can_ask():
            return
        try:
            reply = await self._shells.connection.request(
                "shell",
                "complete_request",
                {"code": document.text, "cursor_pos": document.cursor_position},
                _PATIENCE,
                self._shells.subshell,
            )
        except TimeoutError:
            return
        start = reply.get("cursor_start", document.cursor_position)
        typed = reply.get("metadata", {}).get("_jupyter_types_experimental")
        if typed:  # ipykernel's own extension: each match with its type and signature
            for entry in typed:
                kind = entry.get("type", "")
                yield Completion(
                    entry["text"],
                    start_position=entry.get("start", start) - document.cursor_position,
                    display=entry["text"].lstrip(".") or entry["text"],  # of an attribute
                    display_meta="" if kind == "<unknown>" else kind,
                )
            return
        for match in reply.get("matches", []):
            yield Completion(match, start_position=start - document.cursor_position)


async def inspect(shells: Shells, document: Document) -> str | None:
    """Return what is known about the object at the cursor, or None.

    Raises:
        TimeoutError: the kernel did not answer.
    """
    reply = await shells.connection.request(
        "shell",
        "inspect_request",
        {"code": document.text, "cursor_pos": document.cursor_position, "detail_level": 0},
        _PATIENCE,
        shells.subshell,
    )
    return str(reply["data"].get("text/plain", "")) if reply.get("found") else None
