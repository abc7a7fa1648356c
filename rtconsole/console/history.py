"""What was typed, kept for each program in the user's own state folder."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from rtconsole.folders import own_folder


def state_dir(env: Mapping[str, str]) -> Path:
    """Return rtconsole's state folder, which may not exist: see the XDG base directories."""
    base = env.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "rtconsole"


class _Kept(FileHistory):
    """A history whose file may become one that cannot be used; then it is kept in memory.

    A full disk, a folder that was removed: no reason not to run what was typed.
    """

    def load_history_strings(self) -> Iterable[str]:
        try:
            yield from super().load_history_strings()
        except OSError:
            pass

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except (OSError, UnicodeError):  # also what was typed in another encoding
            pass


def history_of(program: str, env: Mapping[str, str]) -> History:
    """Return the history of what was typed into a program of this name.

    Kept in memory where the folder cannot be written.
    """
    name = re.sub(r"[^\w.-]", "_", program).lstrip(".")[:100] or "python"
    path = state_dir(env) / "history" / name
    try:
        # what is typed may hold secrets: not through what another user has put there
        own_folder(str(path.parent.parent))
        own_folder(str(path.parent), private=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(path, flags, 0o600))
    except OSError:
        return InMemoryHistory()
    return _Kept(str(path))
