"""What IPython's magics complain of: it is the cell's, and nothing for the program's log.

They call ``logging.error``, which writes to the program's log; and where the root logger has no
handler it is given one, after which the program's own ``logging.basicConfig`` does nothing.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from IPython.core.magics import auto, basic, code, config, execution

from .cell import running

# They say `from logging import error`.
_MODULES: tuple[Any, ...] = (auto, basic, code, config, execution)


def routes() -> list[tuple[ModuleType, str, Callable[[Any], Any]]]:
    """Return owner, name and maker of the routers for :class:`.cell.Routes`."""
    return [(module, "error", _error) for module in _MODULES if hasattr(module, "error")]


def _error(original: Callable[..., None]) -> Callable[..., None]:
    def error(message: object, *args: object, **options: Any) -> None:
        if running() is None:
            original(message, *args, **options)
        else:
            print(f"ERROR: {str(message) % args if args else message}", file=sys.stderr)

    return error
