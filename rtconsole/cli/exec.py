"""``rtconsole exec``."""

import contextlib
import json
import sys
from typing import Any, TextIO

import click

from rtconsole import client
from rtconsole.errors import NoAnswer, RtconsoleError, UsageError

from .target import reached


@click.command()
@click.argument("target")
@click.argument("code", required=False)
@click.option("-f", "--file", type=click.File(encoding="utf-8"), help="Read the code from a file.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as one object.")
@click.option("--timeout", type=float, help="Seconds for all of it; without it, for ever.")
def command(
    target: str, code: str | None, file: TextIO | None, as_json: bool, timeout: float | None
) -> None:
    """Run CODE in a live process, with the program's globals, and print what comes of it.

    CODE "-" is read from standard input. What it prints goes to standard output and
    error, as do its result and a traceback; the exit code is 1 if it raised. TARGET is a
    pid, a name, a connection file or user@host:PID.

    \b
    Example:
      rtconsole exec 4242 'len(queue)'
      echo 'queue.clear()' | rtconsole exec worker.py -
    """
    if (code is None) == (file is None):
        raise UsageError("give the code itself, - for standard input, or -f FILE; one of them")
    source = file.read() if file else sys.stdin.read() if code == "-" else code
    assert source is not None
    printer = _Collected() if as_json else _Printed()
    with reached(target) as there:
        try:
            reply = client.execute(there.info, source, printer.message, timeout)
        except NoAnswer as error:
            raise NoAnswer(f"{error}; if it runs: rtconsole interrupt {target}") from None
        except KeyboardInterrupt:
            with contextlib.suppress(RtconsoleError):
                client.request(there.info, "control", "interrupt_request", {}, 5.0)
            raise
    printer.end(reply)
    if reply.get("status") != "ok":
        raise click.exceptions.Exit(1)


class _Printed:
    """For people and pipes: everything where it belongs, at once."""

    def __init__(self) -> None:
        self._told = False

    def message(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            stream = sys.stderr if content["name"] == "stderr" else sys.stdout
            stream.write(content["text"])
            stream.flush()
        elif kind in ("execute_result", "display_data"):
            click.echo(content["data"].get("text/plain", ""))
        elif kind == "error":
            self._told = True
            click.echo("\n".join(content["traceback"]), err=True)

    def end(self, reply: dict[str, Any]) -> None:
        if reply.get("status") != "ok" and not self._told:  # the kernel did not boot, and says why
            click.echo(f"{reply.get('ename')}: {reply.get('evalue')}", err=True)


class _Collected:
    """For programs: one object at the end."""

    def __init__(self) -> None:
        self._text = {"stdout": "", "stderr": ""}
        self._data: list[dict[str, Any]] = []
        self._result: dict[str, Any] | None = None

    def message(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            self._text[content["name"]] += content["text"]
        elif kind == "execute_result":
            self._result = content["data"]
        elif kind == "display_data":
            self._data.append(content["data"])

    def end(self, reply: dict[str, Any]) -> None:
        told = {**self._text, "result": self._result, "display": self._data, "reply": reply}
        click.echo(json.dumps(told, indent=2))
