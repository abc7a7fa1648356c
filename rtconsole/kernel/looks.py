"""Looking at objects without running any of the program's code.

A name's value is found as ``inspect.getattr_static`` finds it, and described from what the
interpreter itself knows of it. Types are asked for with ``type(x)``: ``isinstance`` and
``x.__class__`` can be answered by the program.
"""

import builtins
import inspect
import itertools
import keyword
import re
import types
from collections.abc import Mapping
from typing import Any

from .stacks import source_lines

_PATH = re.compile(r"((?:[^\W\d]\w*\.)*)([^\W\d]\w*)?$")
_MISSING = object()
_FUNCTIONS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType),
    *(types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    *(types.ClassMethodDescriptorType, staticmethod, classmethod),
)
# Of these the interpreter itself answers for all attributes.
_IN_C = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MethodWrapperType, types.ClassMethodDescriptorType),
)
_PROPERTIES = (property, types.GetSetDescriptorType, types.MemberDescriptorType)
_PLAIN = (int, float, complex, bool, str, bytes, bytearray, type(None), type(...), range)
_MOST, _LONGEST, _DEEPEST = 10, 500, 3  # of a value: elements, characters, levels

_mro: Any = type.__dict__["__mro__"]
_names: Any = type.__dict__["__dict__"]
_name: Any = type.__dict__["__name__"]
_qualname: Any = type.__dict__["__qualname__"]


def completions(before: str, names: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """Return where what is completed begins, and the names that it may become, with their kinds.

    Args:
        before: the code up to the cursor.
        names: the cell's.
    """
    found = _PATH.search(before)
    assert found is not None  # it matches nothing, too
    path, stem = found[1], found[2] or ""
    start = len(before) - len(stem)
    if before[: found.start()].endswith((".", "%")):  # of an expression; a magic
        return start, []
    if not path:
        all_names = {*_strings(names), *_strings(vars(builtins)), *keyword.kwlist}
    elif (owner := _find(path[:-1], names)) is _MISSING or _is_property(owner):
        return start, []
    else:
        all_names = _names_in(owner)
    matching = sorted(name for name in all_names if name.startswith(stem))
    if not stem.startswith("_"):
        matching = [name for name in matching if not name.startswith("_")]
    return start, [(name, kind(path + name, names)) for name in matching]


def path_before(code: str) -> str:
    """Return the dotted path, or the beginning of one, that ``code`` ends with."""
    found = _PATH.search(code)
    assert found is not None  # it matches nothing, too
    return found.group()


def kind(path: str, names: Mapping[str, Any]) -> str:
    """Return in a word what a dotted path stands for: ``function``, ``module``, a value's type.

    Nothing where only running code could tell.
    """
    value = _find(path, names)
    if value is _MISSING:
        return ""
    its_type = type(value)
    if issubclass(its_type, types.ModuleType):
        return "module"
    if issubclass(its_type, type):
        return "class"
    if issubclass(its_type, _FUNCTIONS):
        return "function"
    return "property" if _is_property(value) else str(_name.__get__(its_type))


def described(code: str, cursor: int, names: Mapping[str, Any], source: bool) -> str:
    """Return what is known of the name at the cursor; nothing if there is none.

    Args:
        source: with its source, where that is in a file.
    """
    end = cursor
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    found = _PATH.search(code[:end].rstrip("(?"))
    path = (found[1] + (found[2] or "")).strip(".") if found else ""
    value = _find(path, names) if path else _MISSING
    if value is _MISSING:
        return ""
    function = _function_in(value)
    in_c: Any = value if type(value) in _IN_C else None
    lines = [f"Type:      {_qualname.__get__(type(value))}"]
    if function is not None:
        lines.insert(0, f"Signature: {function.__name__}{_signature(function.__code__)}")
    elif in_c is not None:
        # Argument Clinic's form, with the object that it is bound to: "($module, /, file)"
        parameters = re.sub(r"^\(\$\w+(, /)?(, )?", "(", in_c.__text_signature__ or "(...)")
        lines.insert(0, f"Signature: {in_c.__name__}{parameters}")
    else:
        lines.append(f"Value:     {shown(value)}")
    file = function.__code__.co_filename if function else _own(value, "__file__")
    if type(file) is str:
        lines.append(f"File:      {file}")
    told: Any = function or in_c
    doc = told.__doc__ if told is not None else _own(value, "__doc__")
    if type(doc) is str:
        lines += ["Docstring:", inspect.cleandoc(doc)]
    if source and function is not None:
        first = function.__code__.co_firstlineno - 1
        lines += ["Source:", _block(source_lines(function.__code__.co_filename)[first:])]
    return "\n".join(lines)


def shown(value: Any, depth: int = 0) -> str:
    """Return a value's repr if the interpreter's own types make it, else its type's name."""
    kind = type(value)
    try:
        if kind in (str, bytes, bytearray):
            text = repr(value[:_LONGEST])
            return text + "..." if len(value) > _LONGEST else text
        if kind in _PLAIN:
            return repr(value)[:_LONGEST]
        if kind in (list, tuple, set, frozenset, dict) and depth < _DEEPEST:
            return _elements(value, depth)
    except (ValueError, RuntimeError):  # too many digits; changed meanwhile
        pass
    if issubclass(kind, type):
        return f"<class {_qualname.__get__(value)}>"
    size = f" of {len(value)}" if kind in (list, tuple, set, frozenset, dict) else ""
    return f"<{_qualname.__get__(kind)}{size} at {id(value):#x}>"


def _elements(value: Any, depth: int) -> str:
    kind = type(value)
    pairs = value.items() if kind is dict else value
    parts = [
        f"{shown(item[0], depth + 1)}: {shown(item[1], depth + 1)}"
        if kind is dict
        else shown(item, depth + 1)
        for item in itertools.islice(pairs, _MOST)
    ]
    if len(value) > _MOST:
        parts.append(f"... {len(value)} in all")
    opening, closing = "[]" if kind is list else "()" if kind is tuple else "{}"
    return opening + ", ".join(parts) + closing


def _find(path: str, names: Mapping[str, Any]) -> Any:
    """Return what a dotted path stands for, ``_MISSING`` where only running code could tell."""
    first, *rest = path.split(".")
    try:
        found = names[first] if first in names else vars(builtins)[first]
        for name in rest:
            if _is_property(found):
                return _MISSING
            found = inspect.getattr_static(found, name)
    except (KeyError, AttributeError):
        return _MISSING
    return found


def _names_in(value: Any) -> set[str]:
    """Return the names of an object's attributes, without ``__dir__``."""
    found = set(_strings(_own_names(value)))
    classes = _mro.__get__(value if issubclass(type(value), type) else type(value))
    for one in classes:
        found.update(_strings(_names.__get__(one)))
    return found


def _strings(names: Mapping[Any, Any]) -> list[str]:
    """Return the names that are strings: another key's ``__hash__`` may be the program's."""
    return [name for name in list(names) if type(name) is str]


def _own_names(value: Any) -> Mapping[Any, Any]:
    """Return an object's own ``__dict__``, empty if it has none that is the interpreter's."""
    if issubclass(type(value), type):
        return _names.__get__(value)  # type: ignore[no-any-return]
    for one in _mro.__get__(type(value)):
        entry = _names.__get__(one).get("__dict__")
        if entry is not None:
            kept = type(entry) in (types.GetSetDescriptorType, types.MemberDescriptorType)
            own = entry.__get__(value) if kept else {}
            return own if type(own) is dict else {}
    return {}


def _own(value: Any, name: str) -> Any:
    return _own_names(value).get(name)


def _is_property(value: Any) -> bool:
    return issubclass(type(value), _PROPERTIES)


def _function_in(value: Any) -> types.FunctionType | None:
    """Return the Python function that is called by a function, method or class, if it is one."""
    if type(value) in (staticmethod, classmethod, types.MethodType):
        value = value.__func__
    if issubclass(type(value), type):
        value = _own(value, "__init__")
    return value if type(value) is types.FunctionType else None


def _signature(code: types.CodeType) -> str:
    """Return parameters by name only: a default's repr is the program's."""
    count, only = code.co_argcount, code.co_kwonlyargcount
    names = list(code.co_varnames)
    parts = names[:count]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        parts.append("*" + names[count + only])
    elif only:
        parts.append("*")
    parts += names[count : count + only]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parts.append("**" + names[count + only + bool(code.co_flags & inspect.CO_VARARGS)])
    return f"({', '.join(parts)})"


def _block(lines: list[str]) -> str:
    """Return the first function in ``lines``. inspect.getsource fills the program's linecache."""
    try:
        return "".join(inspect.getblock([line + "\n" for line in lines])).rstrip()
    except (SyntaxError, IndentationError):
        return "\n".join(lines[:1])
