"""``rtconsole exec``."""

import contextlib
import json
import sys
import time
from importlib.util import decode_source
from typing import Any, BinaryIO

import click

from rtconsole import client
from rtconsole.errors import NoAnswer, Refused, RtconsoleError, UsageError

from .several import Board, Lines, side_by_side
from .target import Target, chosen, reached

# Seconds after which a terminal gets a bar.
_LONG = 1.0


@click.command()
@click.argument("words", nargs=-1, metavar="TARGET... CODE")
@click.option("-f", "--file", type=click.File("rb"), help="Read the code from a file.")
@click.option("--all", "everywhere", is_flag=True, help="In all processes that have a console.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="How many side by side; 1.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as one object.")
@click.option("--timeout", type=float, help="Seconds for each process; without it, for ever.")
def command(
    words: tuple[str, ...],
    file: BinaryIO | None,
    everywhere: bool,
    jobs: int,
    as_json: bool,
    timeout: float | None,
) -> None:
    """Run CODE in live processes, with the program's globals, and print what comes of it.

    CODE "-" is read from standard input. What it prints goes to standard output and
    error, as do its result and a traceback; the exit code is 1 if it raised. TARGET is a
    pid, a name, a connection file or user@host:PID. Of several targets each line is marked
    with its own, and a summary follows; --json then prints a list.

    \b
    Example:
      rtconsole exec 4242 'len(queue)'
      echo 'queue.clear()' | rtconsole exec worker.py -
      rtconsole exec --all --jobs 8 'import gc; gc.collect()'
    """
    *given, code = [*words, ""] if file else words or [""]
    if not file and not code:
        raise UsageError("give the code itself, - for standard input, or -f FILE; one of them")
    targets = chosen(given, everywhere)
    if file:
        code = _decoded(file.read(), file.name)
    elif code == "-":
        code = _decoded(sys.stdin.buffer.read(), "standard input")
    if len(targets) == 1 and not everywhere:
        exit_code = _in_one(given[0], code, timeout, as_json)
    else:
        exit_code = _in_several(targets, code, timeout, jobs, as_json)
    raise click.exceptions.Exit(exit_code)


def _decoded(source: bytes, name: str) -> str:
    """Return Python source as text: UTF-8, or as its coding line says (PEP 263)."""
    try:
        return decode_source(source)
    except (UnicodeDecodeError, SyntaxError) as error:
        raise UsageError(f"{name} is not Python source as text: {error}") from None


def _in_one(target: str, source: str, timeout: float | None, as_json: bool) -> int:
    """Run the code in one process, and return the exit code."""
    printer = _Collected() if as_json else _Printed()
    reply = _run(target, None, source, timeout, printer)
    if isinstance(printer, _Collected):
        click.echo(json.dumps(printer.told(reply), indent=2))
    else:
        printer.end(reply)
    return 0 if reply.get("status") == "ok" else 1


def _run(
    target: str, known: Target | None, source: str, timeout: float | None, printer: "_Printer"
) -> dict[str, Any]:
    with reached(target, known) as there:
        try:
            reply = client.execute(there.info, source, printer.message, timeout)
            if refused := reply.get("rtconsole", {}).get("refused"):
                raise Refused(f"{there.name}: {refused}")
            return reply
        except NoAnswer as error:
            raise NoAnswer(f"{error}; if it runs: rtconsole interrupt {target}") from None
        except (KeyboardInterrupt, OSError):  # or nobody reads on: `exec ... | head`
            _interrupt(there.info)
            raise


def _interrupt(info: dict[str, Any]) -> None:
    with contextlib.suppress(RtconsoleError):
        client.request(info, "control", "interrupt_request", {}, 5.0)


def _in_several(
    known: dict[str, Target | None],
    source: str,
    timeout: float | None,
    jobs: int,
    as_json: bool,
) -> int:
    """Run the code in several processes, and return the exit code.

    It is 1 if the code raised anywhere, or else that of the first process that failed.
    """
    targets = list(known)
    board = Board(targets, bar=not as_json)
    printers: dict[str, _Printer] = {
        target: _Collected() if as_json else _Marked(board, target) for target in targets
    }
    begun: set[str] = set()

    def work(target: str) -> dict[str, Any]:
        begun.add(target)
        reply = _run(target, known[target], source, timeout, printers[target])
        printers[target].end(reply)
        return reply

    results: dict[str, Any] = {}
    started = time.monotonic()
    try:
        for ended in side_by_side(work, targets, jobs, patience=0.25):
            if ended is not None:
                target, result = ended
                results[target] = result
                if isinstance(result, RtconsoleError) and not as_json:
                    board.line(target, str(result), err=True)
            if time.monotonic() - started > _LONG:
                board.progress(len(results))
    except KeyboardInterrupt:
        for target in begun - results.keys():
            with contextlib.suppress(RtconsoleError), reached(target, known[target]) as there:
                _interrupt(there.info)
        raise
    finally:
        board.finish()
    for result in results.values():
        if isinstance(result, BaseException) and not isinstance(result, RtconsoleError):
            raise result
    if as_json:
        told = [_as_object(target, results[target], printers[target]) for target in targets]
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(_summary(targets, results), err=True)
    return _exit_code([results[target] for target in targets])


def _as_object(target: str, result: Any, printer: "_Printer") -> dict[str, Any]:
    if isinstance(result, RtconsoleError):
        return {"target": target, "error": str(result)}
    assert isinstance(printer, _Collected)
    return {"target": target, **printer.told(result)}


def _summary(targets: list[str], results: dict[str, Any]) -> str:
    """Return the line at the end: ``3 processes: 1 ok, 1 raised (7), 1 not reached (9)``."""
    raised = [t for t in targets if _raised(results[t])]
    failed = [t for t in targets if isinstance(results[t], RtconsoleError)]
    parts = [f"{len(targets) - len(raised) - len(failed)} ok"]
    if raised:
        parts.append(f"{len(raised)} raised ({', '.join(raised)})")
    if failed:
        parts.append(f"{len(failed)} failed ({', '.join(failed)})")
    return f"{len(targets)} processes: {', '.join(parts)}"


def _raised(result: Any) -> bool:
    return isinstance(result, dict) and result.get("status") != "ok"


def _exit_code(results: list[Any]) -> int:
    if any(map(_raised, results)):
        return 1
    return next((one.exit_code for one in results if isinstance(one, RtconsoleError)), 0)


class _Printer:
    """Takes the messages of one cell."""

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Take one message of iopub."""

    def end(self, reply: dict[str, Any]) -> None:
        """The cell has ended with this reply."""


class _Printed(_Printer):
    """For people and pipes: everything where it belongs, at once."""

    def __init__(self) -> None:
        self._told = False

    def message(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            # IPython writes this one instead of sending it
            self._told = self._told or content["text"].startswith("UsageError: ")
            self._write(content["name"], content["text"])
        elif kind in ("execute_result", "display_data"):
            self._write("stdout", content["data"].get("text/plain", "") + "\n")
        elif kind == "error" and "rtconsole" not in content:  # else it was refused, not run
            self._told = True
            self._write("stderr", "\n".join(content["traceback"]) + "\n")

    def end(self, reply: dict[str, Any]) -> None:
        for payload in reply.get("payload", []):
            if payload.get("source") == "page":  # what `name?` shows
                self._write("stdout", payload["data"].get("text/plain", "").rstrip("\n") + "\n")
        if reply.get("status") != "ok" and not self._told:
            self._write("stderr", f"{reply.get('ename')}: {reply.get('evalue')}\n")

    def _write(self, stream: str, text: str) -> None:
        click.echo(text, nl=False, err=stream == "stderr")


class _Marked(_Printed):
    """For people who look at several processes: whole lines, each with its mark."""

    def __init__(self, board: Board, mark: str) -> None:
        super().__init__()
        self._board = board
        self._mark = mark
        self._lines = Lines()

    def end(self, reply: dict[str, Any]) -> None:
        super().end(reply)
        for stream, text in self._lines.rest():
            self._board.line(self._mark, text, err=stream == "stderr")

    def _write(self, stream: str, text: str) -> None:
        for line in self._lines.split(stream, text):
            self._board.line(self._mark, line, err=stream == "stderr")


class _Collected(_Printer):
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

    def told(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return the object."""
        return {**self._text, "result": self._result, "display": self._data, "reply": reply}
