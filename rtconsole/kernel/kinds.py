"""What the names that are completed stand for: ``function``, ``module``, a value's type.

IPython calls them all ``variable`` or ``attribute``. Found without running any of the
program's code: no property is asked, no ``__getattr__`` called.
"""

import builtins
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

_PATH = re.compile(r"(?:[^\W\d]\w*\.)*(?:[^\W\d]\w*)?$")
_VAGUE = frozenset(("variable", "attribute", "instance", "<unknown>", ""))
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    staticmethod,
    classmethod,
)
_PROPERTIES = (property, types.GetSetDescriptorType, types.MemberDescriptorType)

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
            found = _PATH.search(before)
            path = (found.group() if found else "") + entry["text"]
            entry["type"] = _kind(path, names) or entry["type"]


def _kind(path: str, names: Mapping[str, Any]) -> str:
    """Return what a dotted path stands for, "" if that cannot be told without running code."""
    first, *rest = path.split(".")
    try:
        found = names[first] if first in names else vars(builtins)[first]
        for name in rest:
            if isinstance(found, _PROPERTIES):
                return ""
            found = inspect.getattr_static(found, name)
    except (KeyError, AttributeError):
        return ""
    if isinstance(found, types.ModuleType):
        return "module"
    if isinstance(found, type):
        return "class"
    if isinstance(found, _FUNCTIONS):
        return "function"
    if isinstance(found, _PROPERTIES):
        return "property"
    return type(found).__name__
