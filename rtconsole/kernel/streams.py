"""Hooks on one of the program's stream objects: who writes, and where it goes.

A stream stays the object it is, since others hold it: ``write`` and ``flush`` are set on
the instance, and deleted afterwards. Only an object that takes no attributes is replaced,
by one that passes all else through.

The program's own write comes first; its result and its exceptions are the program's, and
so is the traceback: every hook takes itself out of it.
"""

import _thread
import io
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from rtconsole.recorder import hide_frame

from . import cell
from .publisher import Publisher

Function = Callable[..., Any]


class Tap:
    """The hooks on one stream object, as long as a console needs them.

    Attributes:
        name: ``stdout`` or ``stderr``, which it was found as.
    """

    def __init__(self, stream: Any, name: str, publisher: Publisher) -> None:
        """
        Raises:
            TypeError: the stream takes no attributes, or cannot be referred to weakly.
            AttributeError: it has no ``write``.
        """
        self.name = name
        self._publisher = publisher
        # Those live as long as the interpreter. Any other is not kept alive by its hooks:
        # the program may rely on a file being closed when it is let go.
        self._lasting = stream is sys.__stdout__ or stream is sys.__stderr__
        self.stream = self._refer(stream)
        self._installed: list[tuple[Function, str, Function, Function | None]] = []
        self._disable: Function = _nothing
        getattr(stream, "write")  # noqa: B009 - to see that it is there
        vars(stream).update()

    def _refer(self, owner: Any) -> Function:
        return (lambda: owner) if self._lasting else weakref.ref(owner)

    def install(self, mode: str, in_cells: bool) -> None:
        """Set the hooks, in place of those that are set.

        Args:
            mode: ``tee``, ``redirect``, or ``off``: what is done with the program's text.
            in_cells: whether cells run, whose text goes to their clients.
        """
        self.remove()
        stream = self.stream()
        if stream is None or (mode == "off" and not in_cells):
            return
        own = vars(stream)
        write = self._method(stream, "write")
        # What is mirrored is recorded by the publisher, not beside it.
        recorded = getattr(own.get("write"), "rtconsole_original", None)
        is_text_io = type(stream) is io.TextIOWrapper and ("write" not in own or recorded)
        if mode == "tee" and is_text_io:
            write, self._disable = _bare_tee(recorded or write, self.name, self._publisher)
        elif mode != "off":
            redirect = self.stream if mode == "redirect" else None
            write, self._disable = _tee(recorded or write, self.name, self._publisher, redirect)
        self._set(stream, "write", _cell_write(write, self.name) if in_cells else write)
        if getattr(stream, "flush", None) is not None:
            flush = self._method(stream, "flush")
            self._set(stream, "flush", _cell_flush(flush) if in_cells else _plain_flush(flush))
        buffer = getattr(stream, "buffer", None) if is_text_io else None
        if hasattr(buffer, "__dict__") and not _is_ours(vars(buffer).get("write")):
            encoding = stream.encoding or "utf-8"
            self._publisher.encodings[self.name] = encoding
            write = self._method(buffer, "write")
            publisher = None if mode == "off" else self._publisher
            hook = _buffer_write(write, self.name, encoding, publisher, mode == "redirect")
            self._set(buffer, "write", hook)

    def _method(self, owner: Any, name: str) -> Function:
        """Return a method as it is now, which does not keep ``owner`` unless that lasts."""
        method: Function = getattr(owner, name)
        if self._lasting or name in vars(owner):
            return method
        kind, reference = type(owner), weakref.ref(owner)
        for base in kind.__mro__:
            if name in vars(base):
                found = vars(base)[name]
                break
        else:
            found = None
        if found is not None and not hasattr(found, "__get__"):
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                alive = reference()
                bound = found.__get__(alive, kind) if found else kind.__getattr__(alive, name)
                return bound(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise

        _OURS.add(id(call.__code__))
        return call

    def _set(self, owner: Any, name: str, hook: Function) -> None:
        # into its dict, since a class may have a __setattr__ of its own
        self._installed.append((self._refer(owner), name, hook, vars(owner).get(name)))
        vars(owner)[name] = hook

    def remove(self) -> None:
        """Leave the stream as it was found; what the program has set since then stays."""
        while self._installed:
            reference, name, hook, before = self._installed.pop()
            own = vars(reference() or _nothing)
            if own.get(name) is not hook:
                continue
            if before is None:
                del own[name]
            else:
                own[name] = before
        self._disable()  # who got hold of a hook goes on with the stream's own
        self._disable = _nothing


def _nothing() -> None:
    pass


def _bare_tee(original: Function, name: str, publisher: Publisher) -> tuple[Function, Function]:
    """Return a ``write`` for a plain text stream, and what ends it.

    It is called twice in each print of the program, and is all the tax on it: so nothing
    is looked up that could be before, the thread is first asked whether it is the main one,
    and on stdout a line's end belongs to what it ends. Whether the publisher has to be woken
    is not asked at all: while it sleeps, ``append`` is what wakes it.
    """
    newline, owned, append, on = "\n", publisher.owned, publisher.first, True
    main_ident, get_ident = publisher.main_thread_id, _thread.get_ident
    main, active = threading.main_thread(), threading._active  # type: ignore[attr-defined]

    def write_out(text: str, /) -> Any:
        try:
            result = original(text)
        except BaseException as error:
            hide_frame(error)
            raise
        if text is newline or owned():
            append(text)
        else:
            ident = get_ident()
            if ident == main_ident:
                publisher.claim()
            append((name, active.get(ident), text))
        return result

    def write(text: str, /) -> Any:
        try:
            result = original(text)
        except BaseException as error:
            hide_frame(error)
            raise
        append((name, main if owned() else active.get(get_ident()), text))
        return result

    def set_append(function: Function) -> None:
        nonlocal append
        append = function if on else _ignore

    def disable() -> None:
        nonlocal on
        on = False
        publisher.bare_hooks.remove(set_append)
        set_append(_ignore)

    hook = write_out if name == "stdout" else write
    publisher.add_bare_hook(set_append)
    _OURS.add(id(hook.__code__))
    return hook, disable


def _ignore(item: Any) -> None:
    pass


def _tee(
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

    _OURS.add(id(write.__code__))
    return write, disable


def _plain_flush(original: Function) -> Function:
    """Return a ``flush`` that does what the original does, but is known to be ours."""

    def flush() -> Any:
        try:
            return original()
        except BaseException as error:
            hide_frame(error)
            raise

    _OURS.add(id(flush.__code__))
    return flush


# Code of hooks on text streams, by identity (hashing code is slow). What they call writes
# the text that they have seen to the buffer, where it must not count once more.
_OURS: set[int] = set()


def _is_ours(hook: Any) -> bool:
    """Tell whether a buffer's ``write`` is a hook: two text streams may share the buffer."""
    return getattr(hook, "__code__", None) in _BUFFER_HOOKS


_BUFFER_HOOKS: list[Any] = []


def _buffer_write(
    original: Function, name: str, encoding: str, publisher: Publisher | None, redirect: bool
) -> Function:
    """Return a ``write`` for a text stream's binary buffer.

    The text stream writes to it too, in C: then the nearest Python frame is one of ours.

    Args:
        publisher: gets the program's bytes; ``None`` if they are not mirrored.
        redirect: whether only the publisher gets them.
    """

    def write(data: Any, /) -> Any:
        from_text = id(sys._getframe(1).f_code) in _OURS
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
        return result

    if not _BUFFER_HOOKS:
        _BUFFER_HOOKS.append(write.__code__)
    return write


def _cell_write(below: Function, name: str) -> Function:
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

    _OURS.add(id(write.__code__))
    return write


def _cell_flush(below: Function) -> Function:
    def flush() -> Any:
        if cell.running() is not None:
            return None  # the program's buffered text is not the cell's to push out
        try:
            return below()
        except BaseException as error:
            hide_frame(error)
            raise

    _OURS.add(id(flush.__code__))
    return flush


class StandIn:
    """Replaces a stream that takes no attributes; what is not text goes through to it."""

    def __init__(self, stream: Any, name: str) -> None:
        self._rtconsole_stream = stream
        self._rtconsole_name = name

    def write(self, text: str) -> Any:
        # print() with sys.stdout = None writes nothing and is no error
        stream = self._rtconsole_stream
        return len(text) if stream is None else stream.write(text)

    def flush(self) -> None:
        if self._rtconsole_stream is not None:
            self._rtconsole_stream.flush()

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._rtconsole_stream, attribute)
