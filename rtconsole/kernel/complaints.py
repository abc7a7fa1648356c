"""What IPython's magics complain of: it is the cell's, and nothing for the program's log.

They call ``logging.error``, which writes to the program's log; and where the root logger has no
handler it is given one, after which the program's own ``logging.basicConfig`` does nothing.
"""

import sys
from collections.abc import Callable
from typing import Any

from .cell import Routes, running


def route(magic: Any, routes: Routes) -> None:
    """Have what a magic that was found complains of shown as the cell's, until no cell runs.

    Their modules say ``from logging import error``, and are imported when one is first found.
    """
    module = sys.modules.get(getattr(magic, "__module__", None) or "")
    if module is not None and module.__name__.startswith("IPython.core.magics."):
        original = vars(module).get("error")
        if original is not None and getattr(original, "__module__", "") == "logging":
            routes.add(module, "error", _error)


def _error(original: Callable[..., None]) -> Callable[..., None]:
    def error(message: object, *args: object, **options: Any) -> None:
        if running() is None:
            original(message, *args, **options)
        else:
            print(f"ERROR: {str(message) % args if args else message}", file=sys.stderr)

    return error
