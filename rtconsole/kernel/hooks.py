"""The functions that are set on the program's streams, and called by its writes.

What they call of the program's comes first; its result, its exceptions and their traceback
are the program's. They take no lock and never wait.
"""

import sys
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from rtconsole.recorder import hide_frame

from . import cell
from .publisher import Publisher, Queue, programs_threading
from .written import MANY

Function = Callable[..., Any]

# In these versions text is lost, and memory overrun, if the thread changes while a text
# stream writes to its buffer (python/cpython#119506). It may in the interpreter's code:
# there a buffer must not be given a function of ours.
BUFFERS_ARE_FRAGILE = sys.version_info < (3, 11, 10) or (3, 12) <= sys.version_info < (3, 12, 4)

# What print() ends a line with: always this object.
_NEWLINE = "\n"


def bare_tee(original: Function, name: str, publisher: Publisher) -> tuple[Function, Function]:
    """Return a ``write`` for a plain text stream, and what ends it.

    It is called twice in each print of the program, and is all the tax on it: so nothing
    is looked up that could be before, the thread is first asked whether it is the main one,
    and on stdout a line's end belongs to what it ends. Whether the publisher has to be woken
    is not asked at all: while it sleeps, what is appended to wakes it. Of a list and a lock
    the methods are called by name, which the interpreter does without making an object.
    How much waits is asked where it is cheap, where the text reaches the buffer
    (:func:`buffer_write`), and here only where that must not have a hook. A function's
    own names of outside, the more there are, make each call of it dearer, used or not: what a
    print of the main thread does not need is looked up by whoever does.
    """
    lock, queue, on = publisher.lock, publisher.queue(), True
    main = programs_threading.main_thread()

    def write_out(text: str, /) -> Any:
        try:
            result = original(text)
        except BaseException as error:
            hide_frame(error)
            raise
        if text is _NEWLINE or lock._is_owned():
            queue.append(text)
            return result
        ident = get_ident()
        if ident == publisher.main_thread_id:
            publisher.claim()
            thread = programs_threading.main_thread()
        else:
            thread = programs_threading._active.get(ident)
        queue.append(("stdout", thread, text))
        if BUFFERS_ARE_FRAGILE and len(publisher.program) > MANY:
            publisher.written.join()
        return result

    def write(text: str, /) -> Any:
        try:
            result = original(text)
        except BaseException as error:
            hide_frame(error)
            raise
        thread = main if lock._is_owned() else programs_threading._active.get(get_ident())
        queue.append((name, thread, text))
        if BUFFERS_ARE_FRAGILE and len(publisher.program) > MANY:
            publisher.written.join()
        return result

    def set_queue(other: Queue) -> None:
        nonlocal queue
        queue = other if on else _NOWHERE

    def disable() -> None:
        nonlocal on
        on = False
        publisher.bare_hooks.remove(set_queue)
        set_queue(_NOWHERE)

    hook = write_out if name == "stdout" else write
    publisher.add_bare_hook(set_queue)
    return ours(hook), disable


class _Nowhere:
    """Where what is not mirrored any more is appended to."""

    def append(self, item: Any, /) -> None:
        pass


_NOWHERE = _Nowhere()


def tee(
    original: Function, name: str, publisher: Publisher, redirect: Function | None
) -> tuple[Function, Function]:
    """Return a ``write`` for streams of any kind, and what ends it.

    Args:
        redirect: returns the stream, if it is not to be written to; but what is no text
            and a closed stream are the stream's to complain of.
    """
    on = True

    def write(*arguments: Any, **options: Any) -> Any:
        text = arguments[0] if arguments else None
        if redirect and on and isinstance(text, str) and not getattr(redirect(), "closed", False):
            result: Any = len(text)
        else:
            try:
                result = original(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise
        if on and isinstance(text, (str, bytes)) and text:
            publisher.note(name, text if isinstance(text, bytes) else str(text))
        return result

    def disable() -> None:
        nonlocal on
        on = False

    return ours(write), disable


def plain_method(original: Function) -> Function:
    """Return a function that does what the original does, but is known to be ours."""

    def method(*arguments: Any, **options: Any) -> Any:
        try:
            return original(*arguments, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return ours(method)


# Code of functions that stand between the program and a text stream's C, by identity
# (hashing code is slow). What they call writes the text that was seen to the buffer, where
# it must not count once more.
_OURS: set[int] = set()


def ours(function: Any) -> Function:
    """Enter a function that stands there, and return it."""
    _OURS.add(id(function.__code__))
    hook: Function = function
    return hook


def is_ours(function: Any) -> bool:
    """Tell whether a function was entered by :func:`ours`."""
    return id(getattr(function, "__code__", None)) in _OURS


def is_buffer_hook(hook: Any) -> bool:
    """Tell whether a buffer's ``write`` is a hook: two text streams may share the buffer."""
    return getattr(hook, "__code__", None) in _BUFFER_HOOKS


_BUFFER_HOOKS: list[Any] = []


def buffer_write(
    original: Function, name: str, encoding: str, publisher: Publisher | None, redirect: bool
) -> Function:
    """Return a ``write`` for a text stream's binary buffer.

    The text stream writes to it too, in C: then the nearest Python frame is one of ours.

    Args:
        publisher: gets the program's bytes; ``None`` if they are not mirrored.
        redirect: whether only the publisher gets them.
    """

    def write(data: Any, /) -> Any:
        try:
            from_text = id(sys._getframe(1).f_code) in _OURS
        except ValueError:  # nobody: the interpreter flushes another text stream, at main's end
            from_text = False
        running = None if from_text else cell.running()
        if running is not None:
            data = bytes(data)
            running.write(name, data.decode(encoding, "backslashreplace"))
            return len(data)
        if redirect and not from_text:
            data = bytes(data)
            result: Any = len(data)
        else:
            try:
                result = original(data)
            except BaseException as error:
                hide_frame(error)
                raise
        # a raw file may have written a part, or (None) nothing
        if result and publisher is not None and not from_text:
            publisher.note(name, bytes(data)[:result])
        elif from_text and publisher is not None and len(publisher.program) > MANY:
            publisher.written.join()
        return result

    if not _BUFFER_HOOKS:
        _BUFFER_HOOKS.append(write.__code__)
    return write


def cell_write(below: Function, name: str) -> Function:
    def write(*arguments: Any, **options: Any) -> Any:
        running = cell.running()
        if running is None:
            try:
                return below(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise
        text: Any = arguments[0] if arguments else None
        running.write(name, text)
        return len(text)

    return ours(write)


def cell_flush(below: Function) -> Function:
    def flush(*arguments: Any, **options: Any) -> Any:
        if cell.running() is not None:
            return None  # the program's buffered text is not the cell's to push out
        try:
            return below(*arguments, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return ours(flush)
