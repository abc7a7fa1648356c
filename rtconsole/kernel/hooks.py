"""The functions that are set on the program's streams, and called by its writes.

What they call of the program's comes first; its result, its exceptions and their traceback
are the program's. They take no lock and never wait. A handler of a signal may raise in the middle
of a print, as it may without us; but what a text stream hands to its buffer gets there.
"""

import sys
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from rtconsole.recorder import hide_frame

from . import cell
from .publisher import Publisher, Queue, programs_threading
from .quiet import makes_quiet, step
from .written import MANY

Function = Callable[..., Any]

# In these versions text is lost, and memory overrun, if the thread changes while a text
# stream writes to its buffer (python/cpython#119506). It may in the interpreter's code:
# there a buffer must not be given a function of ours.
BUFFERS_ARE_FRAGILE = sys.version_info < (3, 11, 10) or (3, 12) <= sys.version_info < (3, 12, 4)

# What print() ends a line with: always this object.
_NEWLINE = "\n"


@makes_quiet
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
    main = programs_threading._main_thread

    def write_out(text: str, /) -> Any:
        try:
            result = original(text)
            if text is _NEWLINE or lock._is_owned():
                queue.append(text)
                return result
            ident = get_ident()
            if ident == publisher.main_thread_id:
                publisher.claim()
                thread = programs_threading._main_thread
            else:
                thread = programs_threading._active.get(ident)
            queue.append(("stdout", thread, text))
            if BUFFERS_ARE_FRAGILE and len(publisher.program) > MANY:
                publisher.written.join()
            return result
        except BaseException as error:
            hide_frame(error)
            raise

    def write(text: str, /) -> Any:
        try:
            result = original(text)
            thread = main if lock._is_owned() else programs_threading._active.get(get_ident())
            queue.append((name, thread, text))
            if BUFFERS_ARE_FRAGILE and len(publisher.program) > MANY:
                publisher.written.join()
            return result
        except BaseException as error:
            hide_frame(error)
            raise

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


@makes_quiet
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
        text: Any = arguments[0] if arguments else None
        try:
            is_text = isinstance(text, str)
            if redirect and on and is_text and not getattr(redirect(), "closed", False):
                result: Any = len(text)
            else:
                result = original(*arguments, **options)
            if on and (is_text or isinstance(text, bytes)) and text:
                publisher.note(name, str(text) if is_text else text)
            return result
        except BaseException as error:
            hide_frame(error)
            raise

    def disable() -> None:
        nonlocal on
        on = False

    return ours(write), disable


@makes_quiet
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


@makes_quiet
def buffer_write(
    original: Function, name: str, encoding: str, publisher: Publisher | None, redirect: bool
) -> Function:
    """Return a ``write`` for a text stream's binary buffer.

    The text stream writes to it too, in C: then the nearest Python frame is one of ours. The text
    stream has let go of the data by then: so up to the original nothing looks for signals.

    Args:
        publisher: gets the program's bytes; ``None`` if they are not mirrored.
        redirect: whether only the publisher gets them.
    """

    written = step(original)

    def write(data: Any, /) -> Any:
        try:
            try:
                from_text = _id_of[_frame[1].f_code] in _OURS
            except ValueError:  # nobody: another text stream is flushed, at main's end
                from_text = False
            if from_text:
                result = written[data]
                if publisher is not None and publisher.program[MANY : MANY + 1]:
                    publisher.written.join()
                return result
            running = cell.running()
            if running is not None:
                data = bytes(data)
                running.write(name, data.decode(encoding, "backslashreplace"))
                return len(data)
            # a raw file may write a part, or (None) nothing
            result = len(bytes(data)) if redirect else written[data]
            if result and publisher is not None:
                publisher.note(name, bytes(data)[:result])
            return result
        except BaseException as error:
            hide_frame(error)
            raise

    if not _BUFFER_HOOKS:
        _BUFFER_HOOKS.append(write.__code__)
    return write


_frame, _id_of = step(sys._getframe), step(id)


@makes_quiet
def cell_write(below: Function, name: str) -> Function:
    def write(*arguments: Any, **options: Any) -> Any:
        try:
            running = cell.running()
            if running is None:
                return below(*arguments, **options)
            text: Any = arguments[0] if arguments else None
            running.write(name, text)
            return len(text)
        except BaseException as error:
            hide_frame(error)
            raise

    return ours(write)


@makes_quiet
def cell_flush(below: Function) -> Function:
    def flush(*arguments: Any, **options: Any) -> Any:
        try:
            if cell.running() is not None:
                return None  # the program's buffered text is not the cell's to push out
            return below(*arguments, **options)
        except BaseException as error:
            hide_frame(error)
            raise

    return ours(flush)
