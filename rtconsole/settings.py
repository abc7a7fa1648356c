"""The settings: one frozen object, read from the environment once, when it is needed.

At start-up it is needed only if a variable beside RTCONSOLE is set; which programs are
served (RTCONSOLE_ONLY, RTCONSOLE_SKIP) is decided before, by ``sitehook``.
"""

import os

TYPE_CHECKING = False  # `typing`, `dataclasses` and `collections.abc` cost too much here
if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings:
    """What the environment asks for. Read-only.

    Attributes:
        transport: ``"ipc"`` or ``"tcp"`` (``RTCONSOLE_TRANSPORT``).
        eager: boot the kernel at start-up, in the background (``RTCONSOLE_EAGER``).
        profile: IPython profile to load, empty for none (``RTCONSOLE_PROFILE``).
        notes: what could not be understood, for the debug log.
    """

    __slots__ = ("eager", "notes", "profile", "transport")
    transport: str
    eager: bool
    profile: str
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
    transport = env.get("RTCONSOLE_TRANSPORT", "").strip().lower() or default
    if transport not in ("ipc", "tcp"):
        notes.append(f"RTCONSOLE_TRANSPORT={transport!r} is neither ipc nor tcp; using {default}")
        transport = default
    elif transport == "ipc" and not has_unix_sockets:
        notes.append("RTCONSOLE_TRANSPORT=ipc: no Unix sockets here; using tcp")
        transport = "tcp"
    return Settings(
        transport=transport,
        eager=_flag(env, "RTCONSOLE_EAGER", notes),
        profile=env.get("RTCONSOLE_PROFILE", "").strip(),
        notes=tuple(notes),
    )


def from_environment() -> Settings:
    """Return the settings of this process."""
    # CPython on Windows has no Unix sockets, though newer Windows has.
    return read(os.environ, has_unix_sockets=os.name == "posix")


def _flag(env: "Mapping[str, str]", name: str, notes: list[str]) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value not in ("", "0", "false", "no", "off"):
        notes.append(f"{name}={value!r} is neither on nor off; taken as off")
    return False
