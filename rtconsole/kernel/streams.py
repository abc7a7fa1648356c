"""Hooks on one of the program's stream objects: who writes, and where it goes.

A stream stays the object it is, since others hold it: ``write`` and ``flush`` are set on
the instance, and deleted afterwards. Only an object that takes no attributes is replaced,
by one that passes all else through.

The program's own write comes first; its result and its exceptions are the program's, and
so is the traceback: every hook takes itself out of it.
"""

import io
import sys
import weakref
from typing import Any

from rtconsole.recorder import hide_frame

from .hooks import (
    BUFFERS_ARE_FRAGILE,
    Function,
    bare_tee,
    buffer_write,
    cell_flush,
    cell_write,
    is_buffer_hook,
    is_ours,
    ours,
    plain_method,
    tee,
)
from .publisher import Publisher
from .quiet import look, makes_quiet, step, step_of_two


def _nothing() -> None:
    pass


def _in_a_frame(kind: type, name: str) -> Any:
    """Return the object whose method was called on the stack, though it is being collected.

    The garbage collector has cleared the references to it before its ``__del__`` is called,
    in whose frame it is. None for a text stream that closes itself, in C: it has nothing to
    flush any more, see :meth:`Tap._keep_nothing_back`.
    """
    frame = sys._getframe(1)  # of a caller there may be none: the interpreter
    while frame is not None:
        for value in frame.f_locals.values():
            if type(value) is kind and is_ours(vars(value).get(name)):
                return value
        frame = frame.f_back  # type: ignore[assignment]
    return None


_TEXT, _length = (str, bytes), step(len)

# Their `write` writes all, or raises.
_WRITE_ALL = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.StringIO, io.BytesIO)


class Tap:
    """The hooks on one stream object, as long as a console needs them.

    Attributes:
        name: ``stdout`` or ``stderr``, which it was found as.
    """

    def __init__(self, stream: Any, name: str, publisher: Publisher) -> None:
        """
        Raises:
            TypeError: the stream takes no attributes, or none in the place of its ``write``; or
                cannot be referred to weakly.
            AttributeError: it has no ``write``.
            Exception: whatever it raises when it is asked.
        """
        self.name = name
        self._publisher = publisher
        # Those live as long as the interpreter. Any other is not kept alive by its hooks:
        # the program may rely on a file being closed when it is let go.
        self._lasting = any(stream is vars(sys).get(n) for n in ("__stdout__", "__stderr__"))
        self.stream = self._refer(stream)
        self._mode = "off"
        self._installed: dict[str, Hook] = {}
        self._write: Function = _nothing
        self._disable: Function = _nothing
        self._buffer_hooks: dict[tuple[Function, str, str], Function] = {}
        self._is_passed_through = False
        getattr(stream, "write")  # noqa: B009 - to see that it is there
        found = next((vars(b)["write"] for b in type(stream).__mro__ if "write" in vars(b)), None)
        if vars(stream) is not vars(stream) or hasattr(type(found), "__set__"):
            raise TypeError("what is set on it is not found")
        vars(stream).update()

    def _refer(self, owner: Any) -> Function:
        return (lambda: owner) if self._lasting else weakref.ref(owner)

    def install(self, mode: str, in_cells: bool) -> None:
        """Set the hooks. What is written meanwhile goes by the old ones or the new ones.

        Args:
            mode: ``tee``, ``redirect``, or ``off``: what is done with the program's text.
            in_cells: whether cells run, whose text goes to their clients.
        """
        stream = self.stream()
        if stream is None or (mode == "off" and not in_cells):
            self.remove()
            return
        own = vars(stream)
        if any(own.get(h.name) is not h.hook for h in self._installed.values() if h.is_streams):
            self.remove()  # the program has set something
        disable = _nothing
        if mode != self._mode or not self._installed:
            disable, self._mode = self._disable, mode
            self._write, self._disable = self._make_write(stream, mode)
        write = self._write
        self._set("write", stream, "write", cell_write(write, self.name) if in_cells else write)
        is_hooked = self._is_text_io(stream) and self._hook_buffer(stream, mode)
        if is_hooked:
            # flushes in C, without a call of flush
            self._set("tell", stream, "tell", plain_method(self._original("tell", stream, "tell")))
        if (is_hooked or self._lasting) and getattr(stream, "flush", None) is not None:
            self._keep_nothing_back(stream)
            flush = self._original("flush", stream, "flush")
            hook = cell_flush(flush) if in_cells else plain_method(flush)
            self._set("flush", stream, "flush", hook)
        disable()

    def _is_text_io(self, stream: Any) -> bool:
        """Tell whether the stream is a plain one, whose text reaches its buffer in C."""
        if type(stream) is not io.TextIOWrapper:
            return False
        write = vars(stream).get("write")
        ours = self._installed.get("write")
        if ours is not None and ours.hook is write:
            write = ours.before
        return write is None or hasattr(write, "rtconsole_original")

    def _keep_nothing_back(self, stream: Any) -> None:
        """Have text passed to the buffer at once, if the stream may end with our flush on it.

        The garbage collector clears the references to a stream in a cycle, ours too, before
        the stream closes itself and calls ``flush``, which knows no stream by then. So there
        must be nothing left to flush but what is in the buffer, which does that in C.
        """
        if not self._lasting and type(stream) is io.TextIOWrapper and not stream.write_through:
            try:
                stream.reconfigure(write_through=True)
            except (OSError, ValueError):  # the disk is full, or it is closed: nothing changes
                return
            self._is_passed_through = True

    def _make_write(self, stream: Any, mode: str) -> tuple[Function, Function]:
        """Return a ``write`` for the program's text, and what ends it."""
        write = self._original("write", stream, "write")
        if mode == "off":
            return write, _nothing
        # What is mirrored is recorded by the publisher, not beside it.
        write = getattr(write, "rtconsole_original", write)
        if mode == "tee" and self._is_text_io(stream) and self._buffer(stream) is not None:
            return bare_tee(write, self.name, self._publisher)
        redirect = self.stream if mode == "redirect" else None
        return tee(write, self.name, self._publisher, redirect)

    def _buffer(self, stream: Any) -> Any:
        """Return a plain text stream's buffer, if it takes attributes."""
        try:
            return stream.buffer if hasattr(stream.buffer, "__dict__") else None
        except ValueError:  # it is detached
            return None

    def _hook_buffer(self, stream: Any, mode: str) -> bool:
        """Hook the binary buffer, and tell whether it is hooked now, by whomever."""
        buffer = self._buffer(stream)
        if buffer is None or BUFFERS_ARE_FRAGILE:
            return False
        encoding = stream.encoding or "utf-8"
        known = self._installed.get("buffer")
        if known is not None and known.owner() is not buffer:
            known.remove()
            del self._installed["buffer"]
        elif known is None and is_buffer_hook(vars(buffer).get("write")):
            return True  # another text stream has it, too
        self._publisher.written.encodings[self.name] = encoding
        publisher = None if mode == "off" else self._publisher
        write = self._original("buffer", buffer, "write")
        key = write, encoding, mode
        if key not in self._buffer_hooks:  # each makes a type, which only gc ends
            self._buffer_hooks[key] = buffer_write(
                write, self.name, encoding, publisher, mode == "redirect"
            )
        hook = self._buffer_hooks[key]
        self._set("buffer", buffer, "write", hook)
        return True

    def _original(self, key: str, owner: Any, name: str) -> Function:
        """Return a method of the stream or its buffer as it is without our hook."""
        known = self._installed.get(key)
        return self._method(owner, name) if known is None else known.original

    @makes_quiet
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
        writes_all = any(found is vars(kind).get("write") for kind in _WRITE_ALL)

        alive_now, written = look(reference), step_of_two(found)

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                alive = -alive_now
                if writes_all and alive is not None and arguments:
                    text = arguments[0]
                    if text.__class__ in _TEXT and not (options or arguments[1:]):
                        written[alive] = text  # quietly: a text stream may have let go of it
                        return _length[text]
                if alive is None and (alive := _in_a_frame(kind, name)) is None:
                    return len(arguments[0]) if arguments else None
                bound = found.__get__(alive, kind) if found else kind.__getattr__(alive, name)
                return bound(*arguments, **options)
            except BaseException as error:
                hide_frame(error)
                raise

        return ours(call)

    def _set(self, key: str, owner: Any, name: str, function: Function) -> None:
        known = self._installed.get(key)
        if known is None:
            before, original = vars(owner).get(name), self._method(owner, name)
            is_streams = owner is self.stream()
            known = Hook(self._refer(owner), name, before, original, is_streams)
            self._installed[key] = known
        known.hook = function
        # into its dict, since a class may have a __setattr__ of its own
        vars(owner)[name] = function

    def leave_flush(self) -> None:
        """Leave its ``flush``, for the interpreter to call it in C, with no handler due."""
        if hook := self._installed.pop("flush", None):
            hook.remove()

    def remove(self) -> None:
        """Leave the stream as it was found; what the program has set since then stays."""
        while self._installed:
            self._installed.popitem()[1].remove()
        stream = self.stream()
        if self._is_passed_through and stream is not None:
            try:
                stream.reconfigure(write_through=False)
            except (OSError, ValueError):
                pass
        self._is_passed_through = False
        self._buffer_hooks.clear()
        self._mode = "off"
        self._disable()  # who got hold of a hook goes on with the stream's own
        self._disable = _nothing


class Hook:
    """A function set on an instance.

    Attributes:
        owner: returns the instance, if it still is there.
        before: what the instance had of its own under that name.
        original: the method without the hook.
        is_streams: whether the instance is the stream itself, not its buffer.
    """

    def __init__(
        self,
        owner: Function,
        name: str,
        before: Function | None,
        original: Function,
        is_streams: bool,
    ) -> None:
        self.owner = owner
        self.name = name
        self.before = before
        self.original = original
        self.is_streams = is_streams
        self.hook: Function = _nothing

    def remove(self) -> None:
        """Leave the instance as it was found, unless the program has set something else."""
        owner = self.owner()  # asked nothing, not even whether it is true: it is the program's
        own = vars(_nothing if owner is None else owner)
        if own.get(self.name) is not self.hook:
            return
        if self.before is None:
            del own[self.name]
        else:
            own[self.name] = self.before


class StandIn:
    """Replaces a stream that takes no attributes; what is not text goes through to it."""

    def __init__(self, stream: Any, name: str) -> None:
        self._rtconsole_stream = stream
        self._rtconsole_name = name

    def stands_for(self, stream: Any, name: str) -> bool:
        """Tell whether this one replaces ``stream`` as ``name``."""
        return self._rtconsole_stream is stream and self._rtconsole_name == name

    def write(self, text: str) -> Any:
        # print() with sys.stdout = None writes nothing and is no error
        stream = self._rtconsole_stream
        return len(text) if stream is None else stream.write(text)

    def flush(self) -> None:
        if self._rtconsole_stream is not None:
            self._rtconsole_stream.flush()

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._rtconsole_stream, attribute)
