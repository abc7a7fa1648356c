"""``rtconsole stack``."""

import json
from typing import Any

import click

from rtconsole import client
from rtconsole.connection import printable

from .target import reached


@click.command()
@click.argument("target")
@click.option("--all", "everything", is_flag=True, help="Also the console's own idle threads.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects, for programs.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the answer.")
def command(target: str, everything: bool, as_json: bool, timeout: float) -> None:
    """Print the Python stacks of a process's threads, the innermost call last.

    Works while a cell hangs, and while the main thread waits in C; it wakes a dormant
    process. TARGET is a pid, a name, a connection file or user@host:PID.

    \b
    Example:
      rtconsole stack 4242
    """
    with reached(target) as there:
        reply = client.request(there.info, "control", "stack_request", {}, timeout)
    threads = reply["threads"]
    if as_json:
        click.echo(json.dumps(threads, indent=2))
        return
    chosen = [one for one in threads if everything or not one["console"] or one["cell"]]
    for thread in chosen:
        click.echo(_text(thread))
    if len(chosen) < len(threads):
        click.echo(f"and {len(threads) - len(chosen)} threads of the console's own (--all)")


def _text(thread: dict[str, Any]) -> str:
    about = [
        text
        for text, is_so in (
            ("main", thread["main"]),
            ("daemon", thread["daemon"]),
            ("console, runs a cell", thread["cell"]),
            ("console", thread["console"] and not thread["cell"]),
        )
        if is_so
    ]
    name = printable(thread["name"])
    heading = f"Thread {name} ({', '.join(about)})" if about else f"Thread {name}"
    lines = [click.style(heading, bold=True)]
    for place in thread["stack"]:
        where = f'File "{place["file"]}", line {place["line"]}, in {place["function"]}'
        lines.append("  " + click.style(printable(where), dim=True))
        if place["source"]:
            lines.append("    " + printable(place["source"]))
    return "\n".join(lines) + "\n"
