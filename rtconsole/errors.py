"""What a command can fail with: one small tree, each error with its exit code.

A message is for the person who typed the command: one line that says what is wrong and
what to do about it (a list of matches may follow). Only ``rtconsole.cli.main`` prints them.
"""


class RtconsoleError(Exception):
    """Anything that a command tells its user.

    Attributes:
        exit_code: what the command exits with; the README lists them.
    """

    exit_code = 1


class UsageError(RtconsoleError):
    """The command cannot be used so: a contradiction, or not on this terminal."""

    exit_code = 2


class NotATerminal(UsageError):
    """A person has to be there: standard input or output is not a terminal."""


class CannotAttach(RtconsoleError):
    """Nothing was attached; the subclasses say why."""

    exit_code = 3


class NoSuchProcess(CannotAttach):
    """Nothing that runs has this pid or name."""


class NoConsole(CannotAttach):
    """The process is there, and has no console."""


class NotAllowed(CannotAttach):
    """It belongs to another user."""


class Ambiguous(CannotAttach):
    """A name matches several processes, which the message lists."""


class BadConnectionFile(CannotAttach):
    """Not a connection file, not one of a console, or one that a dead process left."""


class NoAnswer(RtconsoleError):
    """The process is there and did not answer in time."""

    exit_code = 4


class Gone(RtconsoleError):
    """The process ended meanwhile."""

    exit_code = 5


class SshFailed(RtconsoleError):
    """The connection to the other machine failed; ssh has said why on stderr."""

    exit_code = 6


class Refused(RtconsoleError):
    """The console did not run the code; its reason is the message."""

    exit_code = 7


class NoSuchCommand(RtconsoleError):
    """There is no such program to run; the exit code is that of a shell."""

    exit_code = 127
