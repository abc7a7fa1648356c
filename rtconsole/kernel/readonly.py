"""RTCONSOLE_READONLY: a console that may look but not run.

What it may is listed here, and all else refused. Completion and inspection look at objects
without running a line of the program's: no property, no ``__getattr__``, no ``__repr__``,
``__dir__`` or ``__class__`` is asked (:mod:`.looks`), where IPython asks them all.
"""

import re
from typing import Any

from . import entering, looks
from .cell import running
from .stacks import as_text

REASON = "this console may look but not run: the program was started with RTCONSOLE_READONLY"

_ALLOWED = frozenset(
    (
        *("kernel_info_request", "connect_request", "comm_info_request", "history_request"),
        *("complete_request", "inspect_request", "is_complete_request", "execute_request"),
        *("shutdown_request", "interrupt_request", "stack_request", "kept_request"),
        *("usage_request", "list_subshell_request"),
    )
)

# Cells that look. Known by their text, and run without IPython: there an argument may be
# an expression (`%tail -n {f()}`), and `get_ipython` whatever the program makes of it. No
# regular expressions: one that takes for ever holds the interpreter.
_LOOKS = re.compile(
    r"%?(threads|tail(?: +-[nt] *[0-9.]+| +-s *std(?:out|err))*|exit|quit)(?:\(\))?"
)
_HELP = re.compile(r"(\?{0,2})((?:[^\W\d]\w*\.)*[^\W\d]\w*)(\?{0,2})")


def restrict(handlers: dict[str, Any], refuse: Any) -> None:
    """Put ``refuse`` in place of what a client may not ask for."""
    for name in handlers.keys() - _ALLOWED:
        handlers[name] = refuse


@entering.begins
def look(shell: Any, code: str) -> dict[str, Any] | None:
    """Run a cell that only looks, and return its reply's payload; ``None`` if it does not.

    Raises:
        Exception: what the magic raises (``UsageError``).
    """
    text = code.strip()
    if not text:  # as clients send to hear of the execution count
        return {}
    found = _HELP.fullmatch(text)
    if found is not None and (marks := found[1] or found[3]):
        told = looks.described(found[2], len(found[2]), shell.user_ns, source=marks == "??")
        data = {"text/plain": told or f"{found[2]}: nothing is known of it without running code"}
        return {"source": "page", "data": data, "start": 0}
    found = _LOOKS.fullmatch(text)
    if found is None:
        return None
    name, _, arguments = found[1].partition(" ")
    if name in ("exit", "quit"):
        return {"source": "ask_exit", "keepkernel": True}
    if name == "tail":
        tail = shell.interrupts.code()
        try:
            try:
                tail.begin()
                shell.interrupts.check()
                shell.find_line_magic("tail")(arguments)
            finally:
                tail.end()
        except KeyboardInterrupt:  # before it showed anything: uncaught, there would be no reply
            pass
        return {}
    cell = running()
    if cell is not None:
        cell.write("stdout", as_text(shell.kernel.stacks()))
    return {}


def complete(shell: Any, code: str, cursor: int | None) -> dict[str, Any]:
    """Return a complete_reply's content."""
    cursor = len(code) if cursor is None else cursor
    start, found = looks.completions(code[:cursor], shell.user_ns)
    entries = [
        {"start": start, "end": cursor, "text": name, "type": kind, "signature": ""}
        for name, kind in found
    ]
    return {
        "status": "ok",
        "matches": [name for name, _ in found],
        "cursor_start": start,
        "cursor_end": cursor,
        "metadata": {"_jupyter_types_experimental": entries},
    }


def inspect(shell: Any, code: str, cursor: int, detail: int) -> dict[str, Any]:
    """Return an inspect_reply's content."""
    text = looks.described(code, cursor, shell.user_ns, source=detail > 0)
    data = {"text/plain": text} if text else {}
    return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}
