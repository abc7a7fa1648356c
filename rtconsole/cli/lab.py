"""``rtconsole lab``."""

import importlib.util
import os
import sys

import click

from rtconsole import processes
from rtconsole.errors import NoSuchCommand


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Start JupyterLab with the live processes under "Connect to Existing Kernel".

    Of the same user and runtime folder. ARGUMENTS are JupyterLab's own. Its interrupt,
    restart and shut down do not reach the program; `rtconsole interrupt` does.

    \b
    Example:
      rtconsole lab --no-browser --port 8899
    """
    if importlib.util.find_spec("jupyterlab") is None:
        install = f"{sys.executable} -m pip install jupyterlab"
        raise NoSuchCommand(f"JupyterLab is not installed: {install}")
    # Whoever picks one that is dead waits for an answer for ever.
    processes.remove(processes.look().dead)
    os.environ.pop("RTCONSOLE", None)  # a console in the server helps nobody
    sys.stdout.flush()
    lab = [sys.executable, "-m", "jupyterlab", "--ServerApp.allow_external_kernels=True"]
    os.execv(sys.executable, [*lab, *arguments])
