"""Several processes: which one? Arrows choose, typing filters, Enter attaches.

Looking wakes no process: what is shown is in their connection files, and the system's own.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.utils import get_cwidth

from rtconsole import connection
from rtconsole.processes import Process

# Seconds between two looks at the processes.
_REFRESH = 1.0
_SHOWN = 15


class Picker:
    """The list and what is chosen in it."""

    def __init__(
        self, found: list[Process], look: Callable[[list[Process]], list[Process]]
    ) -> None:
        """
        Args:
            look: looks at the processes again, given what was found before.
        """
        self._found = found
        self._look = look
        self._pid = found[0].pid
        self._filter = Buffer(multiline=False, on_text_changed=lambda _: self._keep_choice())
        self._app: Application[Process | None] = Application(
            layout=Layout(
                HSplit(
                    [
                        Window(BufferControl(self._filter, [BeforeInput("Attach to: ")]), height=1),
                        Window(FormattedTextControl(self._list), dont_extend_height=True),
                        Window(
                            FormattedTextControl(
                                [("ansibrightblack", "↑↓ choose, type to filter, Enter, Esc")]
                            ),
                            height=1,
                        ),
                    ]
                )
            ),
            key_bindings=self._keys(),
            erase_when_done=True,
        )
        self._app.ttimeoutlen = 0.1  # Esc: the time for an arrow key to be complete
        self._app.output.enable_cpr = False  # type: ignore[attr-defined]

    async def run(self) -> Process | None:
        """Return what was chosen; None if the person left."""
        refreshing = asyncio.create_task(self._refresh())
        try:
            return await self._app.run_async()
        finally:
            refreshing.cancel()

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_REFRESH)
            with suppress(Exception):  # protects the list: the next look may succeed
                self._found = await loop.run_in_executor(None, self._look, self._found)
            self._keep_choice()
            self._app.invalidate()

    # -- the list ------------------------------------------------------------------------

    def _matching(self) -> list[Process]:
        words = self._filter.text.casefold().split()
        return [
            one
            for one in self._found
            if all(word in f"{one.pid} {one.user} {_command(one)}".casefold() for word in words)
        ]

    def _keep_choice(self) -> None:
        """Choose the first one if what was chosen is not in the list any more."""
        pids = [one.pid for one in self._matching()]
        if self._pid not in pids and pids:
            self._pid = pids[0]

    def _list(self) -> StyleAndTextTuples:
        matching = self._matching()
        if not matching:
            return [("ansiyellow", "  none matches")]
        size = self._app.output.get_size()
        rows = max(1, min(_SHOWN, size.rows - 3))
        at = next((n for n, one in enumerate(matching) if one.pid == self._pid), 0)
        first = max(0, min(at - rows // 2, len(matching) - rows))
        lines: StyleAndTextTuples = []
        for one in matching[first : first + rows]:
            is_chosen = one.pid == self._pid
            text = ("> " if is_chosen else "  ") + line_of(one)
            lines.append(("reverse" if is_chosen else "", f"{_cut(text, size.columns - 1)}\n"))
        lines[-1] = (lines[-1][0], lines[-1][1].rstrip("\n"))
        return lines

    # -- keys ----------------------------------------------------------------------------

    def _move(self, by: int) -> None:
        pids = [one.pid for one in self._matching()]
        if pids:
            at = pids.index(self._pid) if self._pid in pids else 0
            self._pid = pids[max(0, min(at + by, len(pids) - 1))]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("up")
        @keys.add("c-p")
        def _(event: KeyPressEvent) -> None:
            self._move(-1)

        @keys.add("down")
        @keys.add("c-n")
        def _(event: KeyPressEvent) -> None:
            self._move(1)

        @keys.add("pageup")
        def _(event: KeyPressEvent) -> None:
            self._move(-_SHOWN)

        @keys.add("pagedown")
        def _(event: KeyPressEvent) -> None:
            self._move(_SHOWN)

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            chosen = next((one for one in self._matching() if one.pid == self._pid), None)
            if chosen is not None:
                event.app.exit(result=chosen)

        @keys.add("escape", eager=False)
        @keys.add("c-c")
        @keys.add("c-d")
        @keys.add("c-\\")
        @keys.add("<sigint>")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        return keys


def pick(found: list[Process], look: Callable[[list[Process]], list[Process]]) -> Process | None:
    """Have a process picked; None if the person left."""
    return asyncio.run(Picker(found, look).run())


def line_of(process: Process) -> str:
    """Return what tells a process from others, the most telling first."""
    told = process.connection
    state = told.state + (f" {told.clients} attached" if told.clients else "")
    return (
        f"{process.pid:>7}  {_command(process)}  ({state}, {process.cpu_percent:.0f}% CPU,"
        f" {process.rss / 2**20:.0f} MB, {process.user})"
    )


def _command(process: Process) -> str:
    return connection.shown(process.program)


def _cut(text: str, width: int) -> str:
    """Return ``text`` cut to a width in columns."""
    if get_cwidth(text) <= width:
        return text
    while get_cwidth(text) >= max(width, 1) and text:
        text = text[:-1]
    return text + "…"
