"""Magics of the console: the program's output, and IPython's own made careful."""

from .output import OutputMagics
from .session import ConsoleMagics

__all__ = ["ConsoleMagics", "OutputMagics"]
