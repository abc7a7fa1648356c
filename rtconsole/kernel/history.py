"""The session's history, in memory: the program's process writes no database of the user's."""

import fnmatch
from collections.abc import Iterator
from typing import Any

from IPython.core.history import DummyDB, HistoryManager


class SessionHistory(HistoryManager):
    """IPython's history manager without its database: this session's lines only."""

    def __init__(self, shell: Any, parent: Any) -> None:
        super().__init__(shell=shell, parent=parent, enabled=False, hist_file=":memory:")

    def init_db(self) -> None:
        """No database, and so nothing that closes it at the end.

        The first ``weakref.finalize`` of a process settles when at its exit all of them are called.
        """
        self.db = DummyDB()

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        super().store_inputs(line_num, source, source_raw)
        self.db_input_cache.clear()  # kept for a database that there is not

    def get_tail(
        self,
        n: int | None = 10,
        raw: bool = True,
        output: bool = False,
        include_latest: bool = False,
    ) -> list[tuple[int, int, Any]]:
        lines = list(self._get_range_session(1, None, raw, output))
        if not include_latest:
            lines = lines[:-1]
        return lines[-(10 if n is None else n) :] if n != 0 else []

    def search(
        self,
        pattern: str | None = "*",
        raw: bool = True,
        search_raw: bool = True,
        output: bool = False,
        n: int | None = None,
        unique: bool = False,
    ) -> list[tuple[int, int, Any]]:
        searched = self.input_hist_raw if search_raw else self.input_hist_parsed
        found = [
            line
            for line in self._get_range_session(1, None, raw, output)
            if fnmatch.fnmatchcase(searched[line[1]], pattern or "*")
        ]
        if unique:  # the last of each, as the database's GROUP BY gives them
            found = list({searched[line[1]]: line for line in found}.values())
        return found if n is None else found[-n:]

    def get_range(
        self,
        session: int = 0,
        start: int = 1,
        stop: int | None = None,
        raw: bool = True,
        output: bool = False,
    ) -> Iterator[tuple[int, int, Any]]:
        if session != 0:
            return iter(())  # former sessions are nowhere kept
        lines: Iterator[tuple[int, int, Any]] = self._get_range_session(start, stop, raw, output)
        return lines

    def end_session(self) -> None:
        """Nothing to write out."""
