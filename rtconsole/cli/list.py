"""``rtconsole list``, which is also ``rtconsole-list``."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from rtconsole import processes, ssh, targets
from rtconsole.errors import UsageError
from rtconsole.processes import Process

from . import table

NONE = (
    "no process with a console; start one: RTCONSOLE=1 python program.py"
    " (or: rtconsole run -- python program.py)"
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pattern", required=False)
@click.option("--user", metavar="NAME", help="Only processes of this user.")
@click.option(
    "--cwd", metavar="FOLDER", type=click.Path(), help="Only those started in or below it."
)
@click.option("--json", "as_json", is_flag=True, help="A list of objects, for programs.")
@click.option("--watch", is_flag=True, help="Refresh every two seconds; q leaves.")
@click.option("--connection", hidden=True, help="What `attach` asks for over ssh.")
def command(
    pattern: str | None,
    user: str | None,
    cwd: str | None,
    as_json: bool,
    watch: bool,
    connection: str | None,
) -> None:
    """Show the live processes that carry a console, parents above their children.

    PATTERN is a part of the command line. With user@host (or host:) the processes of
    another machine are shown, over ssh. No process is asked anything: a dormant one stays
    dormant. CPU% is since the start of a process; with --watch, since the last look.

    \b
    Example:
      rtconsole list gunicorn --user www-data
    """
    if connection is not None:
        click.echo(json.dumps(targets.find(connection).info))
        return
    if watch and as_json:
        raise UsageError("--watch is for people and --json for programs; give one of them")
    remote = pattern if pattern and ssh.is_host(pattern) else None
    wanted = _Wanted("" if remote else pattern or "", user, cwd)
    if watch:
        from .watch import watch as repeat

        if remote:
            raise UsageError("--watch shows this machine's processes only")
        before: list[Process] = []

        def draw(width: int) -> list[str]:
            before[:] = processes.running(before)
            return _text([one.as_json() for one in before], _parents(before), wanted, width)

        repeat(draw)
        return
    if remote:
        rows = wanted.among(ssh.list_there(remote))
        parents = {row["pid"]: row["ppid"] for row in rows}
    else:
        found = processes.look()
        processes.remove(found.dead)
        rows = [one.as_json() for one in found.processes]
        parents = _parents(found.processes)
    if as_json:
        click.echo(json.dumps(wanted.among(rows), indent=2))
        return
    width = table.terminal_size()[0] if sys.stdout.isatty() else None
    colour = False if os.environ.get("NO_COLOR") else None
    for line in _text(rows, parents, wanted, width):
        click.echo(line, color=colour)


class _Wanted:
    """Which processes are asked for."""

    def __init__(self, pattern: str, user: str | None, cwd: str | None) -> None:
        self.pattern = pattern
        self.user = user
        self.cwd = os.path.realpath(cwd) if cwd is not None else None

    def among(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if self._is(row)]

    def _is(self, row: dict[str, Any]) -> bool:
        if self.user is not None and row["user"] != self.user:
            return False
        if self.cwd is not None:
            cwd = os.path.realpath(row["cwd"] or "")
            if not row["cwd"] or os.path.commonpath([cwd, self.cwd]) != self.cwd:
                return False
        return self.pattern.casefold() in " ".join(row["argv"]).casefold()


def _parents(found: Iterable[Process]) -> dict[int, int]:
    return {one.pid: one.parent for one in found}


def _text(
    rows: list[dict[str, Any]], parents: dict[int, int], wanted: _Wanted, width: int | None
) -> list[str]:
    chosen = wanted.among(rows)
    if not rows:
        return [NONE]
    if not chosen:
        return [f"none of the {len(rows)} processes with a console is of that kind"]
    pids = {row["pid"] for row in chosen}
    above = {}
    for row in chosen:  # under the nearest ancestor that is shown
        parent = parents.get(row["pid"], 0)
        while parent and parent not in pids:
            parent = parents.get(parent, 0)
        above[row["pid"]] = parent
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    return list(table.lines(chosen, above, width, plain))
