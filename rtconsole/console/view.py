"""What comes from the kernel, as lines on the screen: whose it is, results, tracebacks."""

import os
from typing import Any

from prompt_toolkit.utils import get_cwidth

from . import images
from .backlog import Kind
from .cells import Cells
from .lines import RESET, harmless, without_colours
from .results import text_of
from .screen import CYAN, DIM, RED, YELLOW, Screen, Source


class View:
    """Shows iopub's messages."""

    def __init__(self, screen: Screen, cells: Cells, session_id: str, options: Any) -> None:
        """
        Args:
            session_id: what tells our messages from those of other clients.
            options: a :class:`.session.Options`.
        """
        self._screen = screen
        self._cells = cells
        self._session_id = session_id
        self._user = os.environ.get("USER")
        self._quiet: bool = options.quiet
        self._follow: bool = options.follow
        self._images = images.protocol_of(os.environ) if options.colours else ""
        # the gutter tells the program's lines from a cell's, also without colours
        is_plain = "utf" not in screen.output.encoding().lower()
        bar, heavy_bar, self._mark = ("|", "!", ">") if is_plain else ("│", "┃", "»")
        self._program = {
            "stdout": Source(f"{CYAN}{bar}{RESET} ", kind=Kind.PROGRAM),
            "stderr": Source(f"{RED}{heavy_bar}{RESET} ", RED, Kind.PROGRAM),
        }
        self._own = {"stdout": Source(), "stderr": Source("", RED)}
        others = f"{DIM}{self._mark}{RESET} "
        self._others = {"stdout": Source(others), "stderr": Source(others, RED)}
        self._displays: dict[str, Source] = {}
        self._shows_kept = False

    def toggle_quiet(self) -> bool:
        """Turn the program's output off or on; true if it is shown now."""
        self._quiet = not self._quiet
        for source in self._program.values():
            self._screen.end(source)
        return not self._quiet

    def end_lines(self) -> None:
        """A cell ended: so do its lines."""
        for source in (*self._own.values(), *self._displays.values()):
            self._screen.end(source)
        self._displays.clear()

    def echo(self, label: str, code: str) -> None:
        """Show what was entered, as it was typed."""
        # type stubs there are none
        from ipython_pygments_lexers import IPython3Lexer  # type: ignore[import-untyped]
        from pygments import highlight  # type: ignore[import-untyped]
        from pygments.formatters import TerminalFormatter  # type: ignore[import-untyped]

        code = harmless(code.rstrip())
        if self._screen.has_colours:
            code = highlight(code, IPython3Lexer(stripnl=False), TerminalFormatter()).rstrip("\n")
        first, *more = code.split("\n")
        below = "... ".rjust(get_cwidth(without_colours(label)))  # as it was while typed
        lines = (f"{DIM}{below}{RESET}{line}" for line in more)
        self._screen.show("\n".join([label + first, *lines]))

    def show(self, message: dict[str, Any]) -> None:
        """Show one message."""
        kind, content, parent = message["msg_type"], message["content"], message["parent_header"]
        origin = (message.get("metadata") or {}).get("rtconsole") or {}
        if kind == "stream" and (origin.get("origin") == "program" or not parent):
            if not self._quiet:
                self._show_programs(content, origin)
        elif parent.get("session") == self._session_id:
            self._show_own(kind, content, parent)
        else:
            self._show_other(kind, content, parent)

    def _show_programs(self, content: dict[str, Any], origin: dict[str, Any]) -> None:
        if dropped := origin.get("dropped"):
            self._screen.leave_out(int(dropped))
            return
        if bool(origin.get("kept")) != self._shows_kept:
            self._shows_kept = not self._shows_kept
            self._screen.note("(said before:)" if self._shows_kept else "(said since:)")
        self._screen.write(self._program[_stream(content)], content["text"])

    def _show_own(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        if kind == "status":
            self._cells.on_status(parent.get("msg_id", ""), content["execution_state"])
        elif parent.get("msg_type") == "execute_request":
            self._show_output(kind, content, self._own)

    def _show_other(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        who = parent.get("username")
        if who in (None, "", "username", self._user):  # "username": it does not know its own
            who = "another client"
        if kind == "execute_input":
            if self._cells.count is not None:
                self._cells.count = max(self._cells.count, content.get("execution_count") or 0)
            if self._follow:
                self.echo(f"{DIM}{self._mark} {who}:{RESET} ", content["code"])
            else:
                self._screen.note(f"{self._mark} {who} runs a cell")
        elif self._follow:
            self._show_output(kind, content, self._others)

    def _show_output(self, kind: str, content: dict[str, Any], to: dict[str, Source]) -> None:
        gutter = to["stdout"].gutter
        if kind == "stream":
            self._screen.write(to[_stream(content)], content["text"])
        elif kind == "error":
            self._finish(to)
            text = "\n".join(content.get("traceback") or [content.get("evalue", "")])
            self._put(gutter, text)
        elif kind == "execute_result":
            self._finish(to)
            number = content.get("execution_count")
            self._put_data(gutter, content["data"], f"{YELLOW}Out[{number}]:{RESET}")
        elif kind in ("display_data", "update_display_data"):
            self._show_display(content, to)

    def _show_display(self, content: dict[str, Any], to: dict[str, Source]) -> None:
        name = (content.get("transient") or {}).get("display_id")
        data = content["data"]
        text = text_of(data, self._screen.columns)
        if name and "\n" not in text and images.image_in(data) is None:
            # a progress bar that is updated in place
            source = self._displays.setdefault(name, Source(to["stdout"].gutter))
            self._screen.write(source, f"\r\x1b[K{text}")
            return
        self._finish(to)
        self._put_data(to["stdout"].gutter, data)

    def _put_data(self, gutter: str, data: dict[str, Any], head: str = "") -> None:
        """Show a result's data after ``head``, which says whose it is."""
        if (kind := images.image_in(data)) is not None:
            if head:
                self._put(gutter, head)
            self._screen.show_image(images.show(kind, data, self._images))
            return
        text = text_of(data, self._screen.columns)
        if head:
            text = head + ("\n" if "\n" in text else " ") + text
        self._put(gutter, text)

    def _finish(self, to: dict[str, Source]) -> None:
        for source in to.values():
            self._screen.end(source)

    def _put(self, gutter: str, text: str) -> None:
        self._screen.show("\n".join(gutter + line for line in text.rstrip("\n").split("\n")))


def _stream(content: dict[str, Any]) -> str:
    return "stderr" if content.get("name") == "stderr" else "stdout"
