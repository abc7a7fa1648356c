"""``rtconsole attach``."""

import click


@click.command()
@click.argument("target", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Do not show the program's output; F4 does.")
@click.option("-f", "--follow", is_flag=True, help="Show the cells of other clients, too.")
@click.option("--vi", is_flag=True, help="vi keys instead of emacs keys.")
def command(target: str | None, quiet: bool, follow: bool, vi: bool) -> None:
    """Open a console in a live process, and see what it prints as it prints it.

    TARGET is a pid, a name, a connection file or user@host:PID. Without it, the only process
    with a console, or the one that is picked from the list.

    \b
    Ctrl-C           interrupts your cell, or clears the line
    Ctrl-C twice     on a cell that hangs: offers a fresh shell beside it
    Ctrl-D, exit     leaves; the program goes on
    Tab, Shift-Tab   completes; shows signature and docstring
    Ctrl-R, F4       searches the history; program's output off and on

    \b
    Example:
      rtconsole attach counter
    """
    from rtconsole.console.attach import attach
    from rtconsole.console.session import Options

    attach(target, Options(quiet=quiet, follow=follow, vi=vi))
