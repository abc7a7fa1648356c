"""Attaching a person: is this a terminal, which process, and the session with it."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from rtconsole import processes, ssh, targets
from rtconsole.errors import NoSuchProcess, NotATerminal, UsageError

from .session import Options, Session


def attach(target: str | None, options: Options) -> None:
    """Attach this terminal to a process, until the person leaves or the process ends.

    Args:
        target: a pid, a name, a connection file or ``[user@]host:PID``; None for the only
            process with a console, or the one picked if there are several.

    Raises:
        RtconsoleError: nothing could be attached.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NotATerminal("attach needs a terminal; in a pipe: rtconsole exec PID 'code'")
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise UsageError("attach needs a terminal that moves its cursor (TERM); see rtconsole exec")
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        options = options._replace(colours=False)
    with ExitStack() as stack:
        if target is not None and ssh.is_remote(target):
            info = stack.enter_context(ssh.forward(target))
            pid, file = 0, None
        else:
            process = targets.find(target) if target is not None else _choose()
            if process is None:
                return
            info, pid, file = process.info, process.pid, Path(process.connection.path)
        asyncio.run(_attach(options, info, pid, file))


def _choose() -> processes.Process | None:
    """Return the only process, or the one that is picked; None if none is."""

    def look(before: Iterable[processes.Process] = ()) -> list[processes.Process]:
        # not this very command, where RTCONSOLE is exported in the shell
        return [one for one in processes.running(before) if one.pid != os.getpid()]

    found = look()
    if not found:
        raise NoSuchProcess(
            "no process with a console; start one with: RTCONSOLE=1 python anything.py"
        )
    if len(found) == 1:
        return found[0]
    from .picker import pick

    return pick(found, look)


async def _attach(options: Options, info: dict[str, object], pid: int, file: Path | None) -> None:
    from prompt_toolkit.output import create_output

    from rtconsole.client import program_of

    from .history import history_of

    output = create_output()
    # The prompt is drawn without asking the terminal where its cursor is: some never answer,
    # and each print would ask.
    output.enable_cpr = False  # type: ignore[attr-defined]
    history = history_of(program_of(info), os.environ)
    session = Session(info, pid, file, options, history, output)
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":  # where loops take no signals
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, session.leave)
        loop.add_signal_handler(signal.SIGQUIT, session.on_quit)
    await session.run()
