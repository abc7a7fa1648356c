"""Magics of the console: IPython's own that would hurt a program, made careful."""

from .session import ConsoleMagics

__all__ = ["ConsoleMagics"]
