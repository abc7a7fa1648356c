"""The logger that ipykernel's classes and event loops of ours are given."""

import logging

from rtconsole import debuglog


class _Logger(logging.Logger):
    def callHandlers(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        debuglog.note(f"{record.levelname}: {record.getMessage()}", error)


def logger() -> logging.Logger:
    """Return one that is not in the program's tree and writes to the debug log only.

    Without a handler, whose lock the program would know of: eventlet, if it patches before the
    kernel is to be found from ``sys.modules``, writes of a lock that "was not greened".
    """
    return _Logger("rtconsole", logging.WARNING)
