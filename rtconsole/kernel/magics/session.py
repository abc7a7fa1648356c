"""``%reset`` and its like: what deletes the program's names asks, and says which.

``%threads`` looks at the program. And magics that ask for ipykernel's application, which is not
there.
"""

import os
import re
import subprocess
import sys
import textwrap
import threading
from importlib.util import find_spec
from typing import Any

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.namespace import NamespaceMagics

from rtconsole.kernel import cell
from rtconsole.kernel.stacks import as_text


@magics_class
class ConsoleMagics(Magics):
    """Careful versions of magics that were made for a namespace of one's own."""

    @line_magic
    def reset(self, parameter_s: str = "") -> None:
        """Delete names from the running program's namespace, after asking.

        %reset [-f] [-s]           all names that %who shows
        %reset in|out|dhist|array  the console's input, output or folder history; arrays

        Options:
          -f  do not ask
          -s  keep the console's own history (the default deletes it too)

        The program is running on these names: what it looks up next is gone.
        """
        options, rest = self.parse_options(parameter_s, "sf", "aggressive", mode="list")
        if rest:
            NamespaceMagics(shell=self.shell).reset(parameter_s)
            return
        if "aggressive" in options:
            raise UsageError("--aggressive unloads modules under a running program; not here")
        if self._delete(self._names(), force="f" in options) and "s" not in options:
            self.shell.reset(new_session=False)

    @line_magic
    def reset_selective(self, parameter_s: str = "") -> None:
        """Delete names that match a regular expression from the running program, after asking.

        %reset_selective [-f] regex

        Options:
          -f  do not ask
        """
        options, pattern = self.parse_options(parameter_s, "f")
        if not pattern:
            print("No regex pattern specified. Nothing done.")
            return
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"not a regular expression: {error}") from None
        self._delete([name for name in self._names() if regex.search(name)], "f" in options)

    @line_magic
    def threads(self, parameter_s: str = "") -> None:
        """Show the stacks of all of the program's threads."""
        with cell.uninterrupted():
            stacks = self.shell.kernel.stacks()
        print(as_text(stacks), end="")

    @line_magic
    def connect_info(self, parameter_s: str = "") -> None:
        """Say how other clients connect to this console."""
        file = self._connection_file()
        print(
            f"Connect another client with one of\n"
            f"    rtconsole attach {os.getpid()}\n"
            f"    jupyter console --existing {os.path.basename(file)}\n"
            f"The connection file is {file}"
        )

    @line_magic
    def qtconsole(self, parameter_s: str = "") -> None:
        """Open a qtconsole connected to this console, where the program's Python has it."""
        file = self._connection_file()
        if find_spec("qtconsole") is None:
            raise UsageError(
                f"{sys.executable} has no qtconsole; elsewhere: jupyter qtconsole --existing {file}"
            )
        argv = [sys.executable, "-m", "qtconsole", "--existing", file, *parameter_s.split()]
        quiet = subprocess.DEVNULL
        subprocess.Popen(
            argv, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet,
            env={**os.environ, "RTCONSOLE": "0"},
        )  # fmt: skip

    def _connection_file(self) -> str:
        path: str = self.shell.kernel.connection_file
        if not path:
            raise UsageError("this console has no connection file any more")
        return path

    @line_magic
    def subshell(self, parameter_s: str = "") -> None:
        """List the subshells of this console."""
        manager = self.shell.kernel.shell_channel_thread.manager
        with cell.uninterrupted():
            threads = {name: manager.thread_of(name) for name in (None, *manager.list_subshell())}
        for name, thread in threads.items():
            is_this = thread == threading.get_ident()
            print(name or "the main shell", "(this one)" if is_this else "")

    def _names(self) -> list[str]:
        names: list[str] = NamespaceMagics(shell=self.shell).who_ls()
        return names

    def _delete(self, names: list[str], force: bool) -> bool:
        """Delete ``names`` if that is agreed to; tell whether it was."""
        namespace: Any = self.shell.user_ns
        if names and not force:
            print(f"This deletes {len(names)} names from the running program:")
            print(textwrap.fill(", ".join(names), 78, initial_indent="  ", subsequent_indent="  "))
            try:
                agreed = self.shell.ask_yes_no("Delete them (y/[n])? ", default="n")
            except StdinNotImplementedError:
                # IPython takes no answer for a yes; in somebody's program it is a no
                print("This client cannot be asked; %reset -f does not ask.")
                agreed = False
            if not agreed:
                print("Nothing done.")
                return False
        for name in names:
            namespace.pop(name, None)
        return True
