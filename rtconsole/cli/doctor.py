"""``rtconsole doctor``."""

import click

from rtconsole.errors import UsageError

_MARKS = {"good": ("+", "green"), "bad": ("!", "red"), "note": (" ", None)}


@click.command()
@click.argument("pid", required=False)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for an answer.")
def command(pid: str | None, timeout: float) -> None:
    """Tell whether programs on this interpreter get a console, or why a process has none.

    Without PID it looks at this interpreter as it was started (python -S -m rtconsole
    doctor looks at -S), and starts it once to see. With PID it says what it sees of that
    process; one that has a console and is not dormant is asked for an answer. The exit code
    is 0 if all is well, else 1.

    \b
    Example:
      rtconsole doctor
      rtconsole doctor 4242
    """
    if pid is not None and not pid.isdecimal():
        raise UsageError(f"doctor looks at a process by its pid, not {pid!r}")
    from rtconsole import diagnosis

    look = diagnosis.of_interpreter() if pid is None else diagnosis.of_process(int(pid), timeout)
    is_well = True
    for finding in look:
        mark, colour = _MARKS[finding.kind]
        click.echo(f"{click.style(mark, fg=colour, bold=True)} {finding.text}")
        is_well = is_well and finding.kind != "bad"
    if not is_well:
        raise click.exceptions.Exit(1)
