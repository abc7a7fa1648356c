"""What keys do at the prompt, beyond editing."""

from typing import Protocol

from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Filter, has_completions, has_focus, has_selection
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.search import stop_search

_INDENT = "    "


class Actions(Protocol):
    """What keys do beyond editing."""

    def run_cell(self, code: str) -> None: ...
    def interrupt(self) -> bool:
        """Ctrl-C: true if there was something to interrupt."""

    def leave(self) -> None: ...
    def toggle_output(self) -> None: ...
    def inspect(self, document: Document) -> None: ...


class Line(Protocol):
    """The line that is typed into."""

    @property
    def is_away(self) -> bool:
        """Whether a pager or an editor has the terminal, and what is typed."""

    @property
    def is_asking(self) -> bool:
        """Whether what is typed answers a question."""

    def begin(self) -> None:
        """Begin another line."""

    def enter(self, event: KeyPressEvent) -> None:
        """End the line, or the cell if it is complete."""

    def answer(self, text: str) -> None:
        """Answer the question."""


def bindings(line: Line, actions: Actions, is_code: Filter) -> KeyBindings:
    """Return what keys do beyond editing.

    Args:
        is_code: what is typed is no answer to a question.
    """
    keys = KeyBindings()
    here = has_focus(DEFAULT_BUFFER)

    keys.add("enter", filter=here & ~has_selection)(line.enter)

    @keys.add("escape", "enter", filter=here & is_code)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("c-c", eager=True)
    @keys.add("<sigint>", eager=True)
    def _(event: KeyPressEvent) -> None:
        if line.is_away:  # it was meant for the pager or the editor, which gets it, too
            return
        if not actions.interrupt():
            stop_search()
            event.app.layout.focus(DEFAULT_BUFFER)
            line.begin()

    @keys.add("c-d", filter=here)
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        elif line.is_asking:
            line.answer("\x04")
        else:
            actions.leave()

    @keys.add("c-\\", eager=True)
    def _(event: KeyPressEvent) -> None:
        actions.leave()

    @keys.add("f4", eager=True)
    @keys.add("c-o", eager=True)
    def _(event: KeyPressEvent) -> None:
        actions.toggle_output()

    @keys.add("tab", filter=here & is_code)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None:
            buffer.complete_next()
        elif not buffer.document.current_line_before_cursor.strip():
            buffer.insert_text(_INDENT)
        else:
            buffer.start_completion(insert_common_part=True)

    @keys.add("s-tab", filter=here & is_code & ~has_completions)
    def _(event: KeyPressEvent) -> None:
        actions.inspect(event.current_buffer.document)

    return keys
