"""The debug log: ``RTCONSOLE_DEBUG=/path/to/log`` gets a line on what happened and why.

We are a guest in the process, so this is the only place where a fault of ours is told.
Writing never raises and never blocks on a lock; without the variable it does nothing.
Standard library only: it is used while the interpreter starts.
"""

import os
import sys


def _is_planted(found: os.stat_result) -> bool:
    """Tell whether somebody else put the file there: to read it, or as a second name of ours."""
    if not hasattr(os, "geteuid"):
        return False
    is_regular = found.st_mode & 0o170000 == 0o100000
    return found.st_uid not in (0, os.geteuid()) or (is_regular and found.st_nlink > 1)


def note(message: str, error: BaseException | None = None) -> None:
    """Append ``message`` (and the traceback of ``error``) to the debug log, in one write."""
    path = os.environ.get("RTCONSOLE_DEBUG")
    if not path or sys.flags.ignore_environment:
        return
    try:
        import time

        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = f"{stamp} pid {os.getpid()}: {message}\n"
        if error is not None:
            import traceback

            text += "".join(traceback.format_exception(error))
        # O_NOFOLLOW: a link planted in a shared folder must not lead to somebody's file;
        # O_NONBLOCK: a pipe that nobody reads must not hold the program up
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        fd = os.open(path, flags, 0o600)
        try:
            if not _is_planted(os.fstat(fd)):
                os.write(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)
    except Exception:  # protects the program: a log that cannot be written is no reason to fail
        pass
