"""``rtconsole interrupt``."""

import click

from rtconsole import client
from rtconsole.errors import RtconsoleError

from .target import reached


@click.command()
@click.argument("target")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the answer.")
def command(target: str, timeout: float) -> None:
    """Interrupt the cell that runs in a process, and nothing else there.

    For frontends that cannot interrupt a kernel which they did not start: JupyterLab,
    qtconsole, jupyter console. TARGET is a pid, a name, a connection file or user@host:PID.

    \b
    Example:
      rtconsole interrupt 4242
    """
    with reached(target) as there:
        if there.state != "dormant":  # which it stays
            reply = client.request(there.info, "control", "interrupt_request", {}, timeout)
            if reply.get("status") == "error":
                raise RtconsoleError(f"{there.name}: {reply['evalue']}")
        idle = there.state in ("dormant", "active")
        click.echo(f"no cell runs in {there.name}" if idle else f"interrupted {there.name}")
