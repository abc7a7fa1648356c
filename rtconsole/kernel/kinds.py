"""What the names that are completed stand for: ``function``, ``module``, a value's type.

IPython calls them all ``variable`` or ``attribute``. Found without running any of the
program's code: no property is asked, no ``__getattr__`` called.
"""

from collections.abc import Mapping
from typing import Any

from . import looks

_VAGUE = frozenset(("variable", "attribute", "instance", "<unknown>", ""))
# Looking at more than this many would take longer than it helps.
_MOST = 1000


def fill_in(reply: dict[str, Any], code: str, names: Mapping[str, Any]) -> None:
    """Replace vague types in a complete_reply.

    Args:
        reply: its content, with ipykernel's ``_jupyter_types_experimental``.
        code: what is completed.
        names: the cell's names.
    """
    entries = reply.get("metadata", {}).get("_jupyter_types_experimental") or []
    for entry in entries[:_MOST]:
        if entry.get("type", "") in _VAGUE:
            before = code[: entry["start"]]
            if before.lstrip().startswith(("import ", "from ")):
                entry["type"] = "module" if before.split()[-1] in ("import", "from") else ""
                continue
            path = looks.path_before(before) + entry["text"]
            entry["type"] = looks.kind(path, names) or entry["type"]
