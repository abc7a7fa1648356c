"""The settings: one frozen object, read from the environment once, when it is needed.

At start-up it is needed only if a variable beside RTCONSOLE is set; which programs are
served (RTCONSOLE_ONLY, RTCONSOLE_SKIP) is decided before, by ``sitehook``.
"""

import os
import sys

TYPE_CHECKING = False  # `typing`, `dataclasses` and `collections.abc` cost too much here
if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings:
    """What the environment asks for. Read-only.

    Attributes:
        transport: ``"ipc"`` or ``"tcp"`` (``RTCONSOLE_TRANSPORT``).
        eager: boot the kernel at start-up, in the background (``RTCONSOLE_EAGER``).
        profile: IPython profile to load, empty for none (``RTCONSOLE_PROFILE``).
        output: what clients see of the program's output: ``"tee"``, ``"redirect"``,
            ``"errors"`` or ``"off"`` (``RTCONSOLE_OUTPUT``).
        parent: what the program's output belongs to: each client's ``"last"`` cell, or
            ``"none"`` (``RTCONSOLE_PARENT``).
        window: seconds between two messages of a flood (``RTCONSOLE_FLUSH_MS``).
        buffer: bytes of output kept for a client that is slow (``RTCONSOLE_BUFFER``).
        history: characters of output kept from start-up on (``RTCONSOLE_HISTORY``).
        readonly: clients may look but not run (``RTCONSOLE_READONLY``).
        audit: where a line for each cell goes, empty for nowhere (``RTCONSOLE_AUDIT``).
        notes: what could not be understood, for the debug log.
    """

    __slots__ = (
        *("transport", "eager", "profile", "output", "parent", "window", "buffer", "history"),
        *("readonly", "audit", "notes"),
    )
    transport: str
    eager: bool
    profile: str
    output: str
    parent: str
    window: float
    buffer: int
    history: int
    readonly: bool
    audit: str
    notes: "tuple[str, ...]"

    def __init__(self, **values: object) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are read-only: {name}")


def read(env: "Mapping[str, str]", has_unix_sockets: bool) -> Settings:
    """Return the settings that ``env`` asks for.

    Args:
        has_unix_sockets: whether the interpreter and libzmq both have them here.
    """
    notes: list[str] = []
    default = "ipc" if has_unix_sockets else "tcp"
    transport = _choice(env, "RTCONSOLE_TRANSPORT", (default, *{"ipc", "tcp"} - {default}), notes)
    if transport == "ipc" and not has_unix_sockets:
        notes.append("RTCONSOLE_TRANSPORT=ipc: no Unix sockets here; using tcp")
        transport = "tcp"
    return Settings(
        transport=transport,
        eager=_flag(env, "RTCONSOLE_EAGER", notes),
        profile=env.get("RTCONSOLE_PROFILE", "").strip(),
        output=_choice(env, "RTCONSOLE_OUTPUT", ("tee", "redirect", "errors", "off"), notes),
        parent=_choice(env, "RTCONSOLE_PARENT", ("last", "none"), notes),
        window=_number(env, "RTCONSOLE_FLUSH_MS", 5, 0.1, 10_000, notes) / 1000,
        buffer=int(_number(env, "RTCONSOLE_BUFFER", 16 << 20, 2 << 20, 1 << 40, notes)),
        history=int(_number(env, "RTCONSOLE_HISTORY", 0, 0, 1 << 30, notes)),
        readonly=_flag(env, "RTCONSOLE_READONLY", notes, unclear=True),
        audit=env.get("RTCONSOLE_AUDIT", "").strip(),
        notes=tuple(notes),
    )


# What the environment said at start-up of what restricts clients: a program may clean its
# environment, or change it, before one comes.
_restrictions: dict[str, str] = {}


def from_environment() -> Settings:
    """Return the settings of this process."""
    for name in ("RTCONSOLE_READONLY", "RTCONSOLE_AUDIT"):
        if name in os.environ:
            _restrictions.setdefault(name, os.environ[name])
    return read({**os.environ, **_restrictions}, has_unix_sockets(sys.platform))


def has_unix_sockets(platform: str) -> bool:
    """Tell whether ``sys.platform`` has them: CPython on Windows has not, though Windows has."""
    return platform != "win32"


def _flag(env: "Mapping[str, str]", name: str, notes: list[str], unclear: bool = False) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value not in ("", "0", "false", "no", "off"):
        notes.append(f"{name}={value!r} is neither on nor off; taken as {('off', 'on')[unclear]}")
        return unclear
    return False


def _choice(
    env: "Mapping[str, str]", name: str, choices: "tuple[str, ...]", notes: list[str]
) -> str:
    """Return the one of ``choices`` that is named; the first is the default."""
    value = env.get(name, "").strip().lower()
    if value and value not in choices:
        notes.append(f"{name}={value!r} is none of {', '.join(choices)}; using {choices[0]}")
    return value if value in choices else choices[0]


def _number(
    env: "Mapping[str, str]", name: str, default: float, least: float, most: float, notes: list[str]
) -> float:
    """Return a number, which may end in ``k``, ``M`` or ``G`` (1024 each), within bounds."""
    text = env.get(name, "").strip()
    if not text:
        return default
    plain = text.lower().removesuffix("b")
    power = {"k": 10, "m": 20, "g": 30}.get(plain[-1:], 0)
    try:
        value = float(plain[:-1] if power else plain) * (1 << power)
        if not 0 <= value < float("inf"):
            raise ValueError
    except ValueError:
        notes.append(f"{name}={text!r} is no number (like 500, 64k or 16M); using {default:g}")
        return default
    if not least <= value <= most:
        value = min(max(value, least), most)
        notes.append(f"{name}={text!r} is out of bounds; using {value:g}")
    return value
