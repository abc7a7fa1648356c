"""``rtconsole`` and ``rtconsole-list``: loads the command that is asked for, and tells errors."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

import click

from rtconsole import __version__
from rtconsole.errors import RtconsoleError

# What the overview says of each; the modules are imported only when they are used.
COMMANDS = {
    "list": "Show the live processes that carry a console.",
    "attach": "Open a console in a live process.",
    "exec": "Run code in live processes and print what comes of it.",
    "tail": "Follow what live programs print.",
    "interrupt": "Interrupt the cell that runs in a process.",
    "stack": "Print the stacks of a process's threads.",
    "run": "Run a command with a console in it.",
    "doctor": "Tell why there is a console, or why not.",
    "lab": "Start JupyterLab with the live processes in it.",
}

INTERRUPTED = 130  # what a shell reports after Ctrl-C
PIPE_CLOSED = 141  # and of a program whose reader is gone


class Commands(click.Group):
    """The commands of ``COMMANDS``, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"rtconsole.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rtconsole")
def rtconsole() -> None:
    """Look into running Python programs: find them, attach, watch, interrupt, leave.

    \b
    Example:
      RTCONSOLE=1 python counter.py &
      rtconsole list
      rtconsole attach counter
    """


def main() -> None:
    """The script ``rtconsole``."""
    sys.exit(_run(rtconsole, "rtconsole"))


def list_main() -> None:
    """The script ``rtconsole-list``: the command that is typed most, under a name of its own."""
    from .list import command

    sys.exit(_run(command, "rtconsole-list"))


def _run(command: click.Command, name: str) -> int:
    """Run a command and return its exit code; what goes wrong is one line on stderr."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may be anything
            stream.reconfigure(errors="backslashreplace")
    try:
        with _broken_pipes():
            result = command.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except RtconsoleError as error:
        from rtconsole.connection import printable

        # what it names is other users', perhaps: a process's name, a program's
        text = "\n".join(map(printable, str(error).split("\n")))
        click.echo(f"rtconsole: {text}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        more = f" (see: {context.command_path} --help)" if context else ""
        click.echo(f"rtconsole: {error.format_message().rstrip('.')}{more}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:  # a full disk, say
        _drop_output()
        with contextlib.suppress(OSError):
            click.echo(f"rtconsole: {error}", err=True)
        return RtconsoleError.exit_code


@contextlib.contextmanager
def _broken_pipes() -> Iterator[None]:
    """Let a BrokenPipeError through; click exits with 1 instead, as for code that raised.

    It is told by the streams, in whose place it puts others that cannot fail.
    """
    stdout = sys.stdout
    try:
        yield
    except SystemExit:
        if sys.stdout is stdout:
            raise
        raise BrokenPipeError from None


def _open_closed() -> None:
    """Open what was closed at the start (``>&-``), or a socket would get its number.

    In this order each gets its own. A command that takes our place has it closed as it was.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open


def _drop_output() -> None:
    """Have nobody told again, for the interpreter flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
