"""rtconsole: a Jupyter console inside every running Python program.

Importing it costs nothing and starts nothing: the names are resolved when used, since
the start-up hook imports this package into programs that will never be looked at.
"""

TYPE_CHECKING = False  # importing `typing` costs a third of a bare start-up
if TYPE_CHECKING:
    from .embed import Console, start_console, stop_console

__version__ = "0.1.0"
__all__ = ["Console", "__version__", "start_console", "stop_console"]


def __getattr__(name: str) -> object:
    if name in ("Console", "start_console", "stop_console"):
        from . import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
