"""What a cell comes to: results, payloads, the traceback of its reply; for each shell its own.

Subshells run cells in one and the same shell object, each in a thread. What the object notes of
"the" cell is another's by the time that the reply is made of it: a result that was lost, an error
that was none (of ``NoneType``), a client that is told to leave by another's ``exit``.
"""

from collections.abc import Callable
from threading import local
from typing import Any

from ipykernel.displayhook import ZMQShellDisplayHook
from IPython.core.payload import PayloadManager


class PerThread:
    """An attribute that is another one in each thread."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """
        Args:
            make: returns what it is at first.
        """
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{name} of each thread"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        own = self._of(instance)
        if not hasattr(own, "value"):
            own.value = self._make()
        return own.value

    def __set__(self, instance: Any, value: Any) -> None:
        self._of(instance).value = value

    def _of(self, instance: Any) -> Any:
        return vars(instance).setdefault(self._name, local())


class Payloads(PayloadManager):
    _payload = PerThread(list)


class DisplayHook(ZMQShellDisplayHook):
    msg = PerThread(lambda: None)
    exec_result = PerThread(lambda: None)

    def check_for_underscore(self) -> None:
        """Not needed: it guards a ``_`` in builtins, which the console never sets."""

    def flush(self) -> None:
        """Forget the outputs; the original deletes ``_1`` and so on, also the program's own."""
        hidden = self.shell.user_ns.hidden
        for number in range(1, self.prompt_count + 1):
            hidden.pop(f"_{number}", None)
        self._ = self.__ = self.___ = ""
        hidden.update({"_": "", "__": "", "___": ""})
        self.shell.user_ns["_oh"].clear()
