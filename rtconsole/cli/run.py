"""``rtconsole run``."""

import os
import shutil
import sys

import click

from rtconsole import hook
from rtconsole.errors import NoSuchCommand, RtconsoleError


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--eager", is_flag=True, help="Boot the kernel at start-up: RTCONSOLE_EAGER.")
@click.option(
    "--output",
    type=click.Choice(["tee", "redirect", "errors", "off"]),
    help="What clients see of the program's output: RTCONSOLE_OUTPUT.",
)
@click.option(
    "--history",
    metavar="SIZE",
    help="Keep the last SIZE (64k) of the output from the start on: RTCONSOLE_HISTORY.",
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def command(eager: bool, output: str | None, history: str | None, words: tuple[str, ...]) -> None:
    """Run COMMAND with RTCONSOLE=1: a console in it, and in the Python programs it starts.

    The command takes this process's place. Where its interpreter may lack the start-up
    hook, PYTHONPATH leads to it.

    \b
    Example:
      rtconsole run -- python -m http.server
      rtconsole run ./counter.py
    """
    words = _runnable(words)
    os.environ["RTCONSOLE"] = "1"
    if eager:
        os.environ["RTCONSOLE_EAGER"] = "1"
    if output is not None:
        os.environ["RTCONSOLE_OUTPUT"] = output
    if history is not None:
        os.environ["RTCONSOLE_HISTORY"] = history
    if not (hook.installed() and _is_beside_us(words[0])):
        _put_on_path()
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise NoSuchCommand(f"{words[0]} cannot be run: {error.strerror}") from None


def _runnable(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command, with this interpreter before a script that cannot be run itself."""
    if shutil.which(words[0]) is not None:
        return words
    if words[0].endswith((".py", ".pyz")) and os.path.isfile(words[0]):
        return (sys.executable, *words)
    raise NoSuchCommand(f"there is no command {words[0]!r}")


def _is_beside_us(name: str) -> bool:
    """Tell whether the command is in the folder of this interpreter, and so runs on it."""
    found = shutil.which(name)
    folder = os.path.dirname(os.path.abspath(found)) if found else ""
    return os.path.realpath(folder) == os.path.realpath(os.path.dirname(sys.executable))


def _put_on_path() -> None:
    folder = hook.path_folder()
    if folder is None:
        raise RtconsoleError(
            f"the start-up hook is neither installed for {sys.executable} nor found beside"
            " rtconsole; install it again: pip install --force-reinstall rtconsole"
        )
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = folder + os.pathsep + before if before else folder
