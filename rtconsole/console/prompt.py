"""The line that is typed into: editing, keys, and questions asked in its place.

One prompt_toolkit application from attaching to leaving: Enter hands the text over and
clears the line, so that the terminal is never without an editable prompt.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyPressEvent
from prompt_toolkit.lexers import DynamicLexer, PygmentsLexer, SimpleLexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.shortcuts import CompleteStyle

from .keys import Actions, bindings
from .screen import Screen

# Rows for a menu of completions, where there are as many.
_MENU = 8


class Question(NamedTuple):
    """Something that is asked at the prompt: its text, and who waits for the answer."""

    text: str
    password: bool
    answer: "asyncio.Future[str]"


class Prompt:
    """The prompt.

    Attributes:
        label: what stands before the text, given the terminal's columns.
    """

    def __init__(
        self,
        actions: Actions,
        screen: Screen,
        label: Callable[[int], str],
        history: History,
        completer: Completer,
        vi: bool,
    ) -> None:
        from IPython.core.inputtransformer2 import TransformerManager
        from ipython_pygments_lexers import IPython3Lexer  # type: ignore[import-untyped]

        self._actions = actions
        self._screen = screen
        self.label = label
        self._transformer = TransformerManager()
        self._question: Question | None = None
        self._kept: Document | None = None  # what was being typed when a question came
        asks = Condition(lambda: self._question is not None)
        python = PygmentsLexer(IPython3Lexer)
        plain = SimpleLexer()
        self._session: PromptSession[None] = PromptSession(
            self._message,
            multiline=True,
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
            completer=completer,
            complete_while_typing=False,
            complete_style=CompleteStyle.COLUMN,
            enable_history_search=True,
            enable_open_in_editor=~asks,
            enable_suspend=True,
            tempfile_suffix=".py",
            history=history,
            is_password=Condition(lambda: self._question is not None and self._question.password),
            key_bindings=bindings(self, actions, ~asks),
            lexer=DynamicLexer(lambda: plain if self._question else python),
            prompt_continuation=_continuation,
            color_depth=None if screen.has_colours else ColorDepth.DEPTH_1_BIT,
            output=screen.output,
            erase_when_done=True,  # what was entered is shown by the screen
        )
        # Not to be left by Enter. It also serves "edit in $EDITOR", which ends with it.
        self._session.default_buffer.accept_handler = self._accept
        self._session.app.ttimeoutlen = 0.1  # Esc: the time for an Alt key to be complete
        screen.app = self._session.app

    async def run(self) -> None:
        """Show the prompt until :meth:`stop`."""
        await self._session.prompt_async(set_exception_handler=False)

    def stop(self) -> None:
        """Take the prompt off the terminal and give that back as it was."""
        if self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(result=None)

    def is_running(self) -> bool:
        return self._session.app.is_running

    @property
    def is_away(self) -> bool:
        """Whether a pager or an editor has the terminal, and what is typed."""
        return self._session.app._running_in_terminal

    @property
    def is_asking(self) -> bool:
        """Whether what is typed answers a question."""
        return self._question is not None

    @property
    def _buffer(self) -> Buffer:
        return self._session.default_buffer

    def begin(self, document: Document | None = None) -> None:
        """Begin another line: as a new prompt would, with vi keys in insert mode."""
        self._buffer.reset(document)
        self._session.app.vi_state.reset()
        self._session.app.invalidate()

    # -- questions -----------------------------------------------------------------------

    async def ask(self, text: str, password: bool = False) -> str:
        """Ask in place of the prompt and return what was typed; ``\\x04`` for Ctrl-D.

        Cancelling the call takes the question back. What was being typed comes back after.
        """
        question = Question(text, password, asyncio.get_running_loop().create_future())
        if self._question is None:
            self._kept = self._buffer.document
        self._question = question  # at most one waits in practice; the newest is shown
        self.begin()
        try:
            return await question.answer
        finally:
            if self._question is question:
                self._close_question()

    def _close_question(self) -> None:
        self._question = None
        self.begin(self._kept)

    def answer(self, text: str) -> None:
        """Answer the question; what is typed from now on is a cell again."""
        question = self._question
        if question is not None:
            self._close_question()
            if not question.answer.done():
                question.answer.set_result(text)

    def put(self, text: str) -> None:
        """Have ``text`` in the line, for somebody to change and enter."""
        text = text.rstrip("\n")
        if self._question is not None:
            self._kept = Document(text)
        else:
            self.begin(Document(text))

    # -- appearance ----------------------------------------------------------------------

    def _message(self) -> StyleAndTextTuples:
        fragments: StyleAndTextTuples = []
        if unfinished := self._screen.unfinished():
            fragments += [*to_formatted_text(ANSI(unfinished)), ("", "\n")]
        if self._question is not None:
            return [*fragments, *to_formatted_text(ANSI(self._question.text))]
        size = get_app().output.get_size()
        # what does not fit at all is not drawn: a menu, on a terminal of few rows
        self._session.reserve_space_for_menu = max(1, min(_MENU, size.rows - len(fragments) - 2))
        label = self.label(size.columns)
        return [*fragments, *to_formatted_text(ANSI(label))]

    def _accept(self, buffer: Buffer) -> bool:
        """Take what was entered. Returns whether it stays in the line: never."""
        if self._question is not None:  # Alt-Enter, and what else accepts a line
            text, buffer.text = buffer.text, ""  # no cell, and nothing for the history
            asyncio.get_running_loop().call_soon(self.answer, text)
            return False
        self._session.app.vi_state.reset()  # as a new prompt would
        buffer.text = buffer.text.rstrip()  # the history gets it after this
        if buffer.text:
            self._actions.run_cell(buffer.text)
        return False

    def enter(self, event: KeyPressEvent) -> None:
        """End the line, or the cell if it is complete."""
        buffer = event.current_buffer
        state = buffer.complete_state
        if state is not None and state.current_completion is not None:
            buffer.complete_state = None
            return
        document = buffer.document
        if self._question is not None:
            self.answer(document.text)
            return
        after = document.text_after_cursor
        if "\n" in after and after.strip():  # inside a cell
            buffer.newline()
            return
        try:
            status, indent = self._transformer.check_complete(document.text)
        except Exception:  # protects the line: Python judges there what cannot be judged here
            status, indent = "complete", None
        if status == "incomplete":
            buffer.insert_text("\n" + " " * (indent or 0))
            return
        buffer.validate_and_handle()


def _continuation(width: int, line: int, wraps: int) -> str:
    """Return what stands before the other lines of a cell."""
    return " " * width if wraps else "... ".rjust(width)[-width:]
