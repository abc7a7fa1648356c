"""Streams of all kinds: the program's results and exceptions are its own, nothing is doubled."""

import os
import pty
import textwrap
import time
from pathlib import Path

import pytest
from harness import Launcher, wait_for
from mirrored import BUFFERS_ARE_SAFE, Obedient, as_found, watching

TEES = """
import codecs, contextlib, io, logging, pathlib
class Tee:
    def __init__(self, *streams): self.streams = streams
    def write(self, text):
        for stream in self.streams: stream.write(text)
        return len(text)
    def flush(self):
        for stream in self.streams: stream.flush()
class Wrapper:
    def __init__(self, stream): self._stream = stream
    def __getattr__(self, name): return getattr(self._stream, name)
class Slots:
    __slots__ = ("got",)
    def __init__(self): self.got = ""
    def write(self, text): self.got += text
    def flush(self): pass
class ToLogger:
    def write(self, text): logging.getLogger("out").info(text.rstrip())
    def flush(self): pass
"""


@pytest.mark.parametrize(
    "replacement",
    [
        "Tee(sys.stdout, open('log', 'w'))",
        "Wrapper(sys.stdout)",
        "codecs.getwriter('utf-8')(sys.stdout.buffer)",
        "io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8', write_through=True)",
        "io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
        "open(1, 'w', encoding='utf-8', closefd=False)",
    ],
)
@pytest.mark.parametrize("when", ["before", "while attached"])
def test_what_a_replaced_stdout_writes_is_seen_once(
    launch: Launcher, replacement: str, when: str
) -> None:
    obedient = Obedient(launch, TEES)
    replace = f"original, sys.stdout = sys.stdout, {replacement}; new = sys.stdout"
    if when == "before":
        obedient.do(replace)
    with watching(obedient.program) as watch:
        if when != "before":
            obedient.do("print('by the original', flush=True)")
            obedient.do(replace)
            watch.run("")  # a new stream is followed from the next cell on
        obedient.do("print('text ä', 1); sys.stdout.write('written\\n'); sys.stdout.flush()")
        reply = watch.run("print('a cell'); import os; os.system('')")
        assert reply.stdout == "a cell\n"
        obedient.do("print('after the cell'); sys.stdout.flush(); sys.stdout = original")
        obedient.do("print('the end', flush=True)")
        seen = watch.wait_for("the end\n")
        assert "text ä 1\nwritten\nafter the cell\nthe end\n" in seen
        assert seen == obedient.program.stdout
    wait_for(lambda: as_found(obedient), "the streams to be as found")
    assert obedient.do("answer = sorted({'write', 'flush', 'tell'} & set(vars(new)))") == []
    assert obedient.program.stderr == ""


def test_redirect_stdout_and_pytest_like_captures_are_followed_and_not_stolen(
    launch: Launcher,
) -> None:
    obedient = Obedient(launch, TEES)
    with watching(obedient.program) as watch:
        obedient.do("original = sys.stdout; capture = io.StringIO(); sys.stdout = capture")
        obedient.do("print('captured')")
        reply = watch.run("print('the cell'); print('its error', file=sys.stderr)")
        assert (reply.stdout, reply.stderr) == ("the cell\n", "its error\n")
        assert obedient.do("answer = sys.stdout is capture")
        obedient.do("print('followed'); sys.stdout = original; print('back', flush=True)")
        assert watch.wait_for("back\n") in ("followed\nback\n", "captured\nfollowed\nback\n")
        assert obedient.do("answer = capture.getvalue()") == "captured\nfollowed\n"
        # while a cell runs the program goes back and forth
        obedient.do("sys.stdout = capture")
        cell = watch.client.send("begun = True\nwhile begun: time.sleep(0.01)\nprint('over')")
        wait_for(lambda: obedient.do("answer = globals().get('begun')"), "the cell to begin")
        obedient.do("sys.stdout = original; begun = False")
        assert watch.finish(cell).stdout == "over\n"
        obedient.do("sys.stdout = slots = Slots()")
        assert watch.run("print('with slots')").stdout == "with slots\n"
        obedient.do("print('to slots')")
        watch.wait_for("to slots\n")
        obedient.do("answer = slots.got; sys.stdout = original")
    wait_for(lambda: as_found(obedient), "the streams to be as found")
    assert obedient.do("answer = slots.got") == "to slots\n"
    assert obedient.do("answer = sorted(vars(capture))") == []
    assert obedient.program.stdout == "back\n"


@pytest.mark.parametrize("replacement", ["Slots()", "None", "ToLogger()", "io.StringIO()"])
def test_streams_of_any_kind_work_as_before(launch: Launcher, replacement: str) -> None:
    obedient = Obedient(launch, TEES)
    obedient.do(f"stdout = sys.stdout = {replacement}")
    write = "print('text'); answer = None if sys.stdout is None else sys.stdout.write('more\\n')"
    before = obedient.do(write)
    as_before = "answer = (sys.stdout is None) == (stdout is None)"
    with watching(obedient.program) as watch:
        wait_for(lambda: obedient.do(as_before), "no stand-in for None")
        assert obedient.do(write) == before
        reply = watch.run("print('cell'); print('error', file=sys.stderr)")
        assert (reply.stdout, reply.stderr) == ("cell\n", "error\n")
        wait_for(lambda: obedient.do(as_before), "no stand-in for None")
        assert obedient.do(write) == before
        if replacement != "None":
            watch.wait_for("text\nmore\n")
            watch.wait_for("more\ntext\nmore\n")
            assert watch.text() == 2 * "text\nmore\n"
    wait_for(lambda: obedient.do("answer = sys.stdout is stdout"), "the stream to be as found")
    untouched = "answer = 'write' not in getattr(stdout, '__dict__', ())"
    wait_for(lambda: obedient.do(untouched), "no hook on the stream")
    assert obedient.do(write) == before
    if replacement == "Slots()":
        assert obedient.do("answer = stdout.got") == 4 * "text\nmore\n"
    assert (obedient.program.stdout, obedient.program.stderr) == ("", "")


def test_a_programs_stream_class_keeps_its_ways(launch: Launcher) -> None:
    """Properties, ``__setattr__``, ``write`` with more arguments, results that are no number."""
    obedient = Obedient(
        launch,
        """
        class Odd:
            def __init__(self): vars(self).update(got=[])
            def __setattr__(self, name, value): raise AttributeError("frozen")
            def write(self, text, *, end=None):
                self.got.append((text, end))
                return "odd"
            def flush(self, *more): return "flushed"
            encoding = property(lambda self: 1 / 0)
        """,
    )
    obedient.do("sys.stdout = odd = Odd()")
    with watching(obedient.program) as watch:
        use = "answer = odd.write('text\\n', end=3), odd.flush(), odd.got, type(odd) is Odd"
        assert obedient.do(use) == ("odd", "flushed", [("text\n", 3)], True)
        assert watch.run("print('cell')").stdout == "cell\n"
        assert watch.wait_for("text\n") == "text\n"
        assert obedient.do("answer = odd.flush(1)") == "flushed"
    wait_for(lambda: obedient.do("answer = list(vars(odd))") == ["got"], "it to be as found")


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_stream_that_is_closed_at_the_start(launch: Launcher, number: str) -> None:
    obedient = Obedient(launch, shell=f"{number}>&-")
    with watching(obedient.program) as watch:
        obedient.do("print('text', flush=True); print('error', file=sys.stderr)")
        if number == "1":
            assert watch.wait_for("error\n", "stderr") == "error\n"
        else:  # print() takes None for stdout
            assert watch.wait_for("error\n") == "text\nerror\n"
        reply = watch.run("print('cell'); print('its error', file=sys.stderr)")
        assert reply.stdout + reply.stderr == "cell\nits error\n"
    name = {"1": "stdout", "2": "stderr"}[number]
    wait_for(lambda: obedient.do(f"answer = sys.{name} is None"), "None, as found")
    assert obedient.end() == 0


EXCEPTIONS = """
import io
answer = []
def attempt(function, *arguments, **options):
    try: answer.append(function(*arguments, **options))
    except BaseException as error: answer.append((type(error).__name__, str(error)))
"""


def test_exceptions_are_the_programs_own(launch: Launcher) -> None:
    orders = (
        # a reader that went away
        """
        original = os.dup(1)
        reader, writer = os.pipe()
        os.dup2(writer, 1); os.close(reader); os.close(writer)
        attempt(print, "no reader", flush=True)
        attempt(sys.stdout.flush)
        os.dup2(original, 1)
        attempt(sys.stdout.flush)
        """,
        # a full disk
        """
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        attempt(print, "disk full", flush=True)
        attempt(sys.stdout.write, "x" * 100_000)
        os.dup2(original, 1)
        attempt(sys.stdout.flush)
        """,
        # what is no text, what has no encoding, and newlines
        """
        attempt(sys.stdout.write, 3)
        attempt(sys.stdout.write, None)
        attempt(sys.stdout.writelines, [1])
        attempt(sys.stdout.buffer.write, "text")
        attempt(print, "\\udc80")
        sys.stdout.reconfigure(encoding="latin-1", errors="strict", newline="\\r\\n")
        attempt(print, "€")
        attempt(print, "ä", flush=True)
        sys.stdout.reconfigure(encoding="utf-8", line_buffering=True, newline="\\n")
        attempt(print, "€")
        attempt(sys.stdout.fileno)
        attempt(sys.stdout.isatty)
        attempt(lambda: sys.stdout.seekable() and sys.stdout.tell() > 0)
        attempt(repr, sys.stdout)
        attempt(lambda: type(sys.stdout) is io.TextIOWrapper)
        attempt(lambda: sys.stdout is sys.__stdout__)
        """,
        # a closed stream
        """
        copy = open(os.dup(1), "w")
        sys.stdout.close()
        attempt(print, "closed")
        attempt(sys.stdout.write, "closed")
        attempt(sys.stdout.flush)
        sys.stdout = copy
        attempt(print, "the end", flush=True)
        """,
    )
    plain, attached = Obedient(launch, EXCEPTIONS), Obedient(launch, EXCEPTIONS)
    with watching(attached.program) as watch:
        for order in orders:
            expected = plain.do("answer = []\n" + textwrap.dedent(order))
            assert attached.do("answer = []\n" + textwrap.dedent(order)) == expected
            assert watch.run("print('cell')").stdout == "cell\n"
        assert attached.program.stdout_file.read_bytes() == plain.program.stdout_file.read_bytes()
        seen = watch.wait_for("€\n")
        assert "disk full\n" not in seen or "no reader\n" in seen
        assert "\\udc80" in seen
        assert "closed" not in seen
    assert attached.end() == plain.end()
    assert attached.program.stderr == plain.program.stderr


def test_text_that_waits_in_the_stream_is_seen_once(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        obedient.do("print('told'); sys.stdout.tell()")
        obedient.do("import io; print('detached'); out = sys.stdout.detach()")
        obedient.do("sys.stdout = io.TextIOWrapper(out); del out")
        assert watch.run("print('a cell')").stdout == "a cell\n"
        obedient.do("print('new', flush=True)")
        assert watch.wait_for("new\n") == "told\ndetached\nnew\n"
        assert obedient.program.stdout == "told\ndetached\nnew\n"


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (("-u",), {}),
        ((), {"PYTHONUNBUFFERED": "1"}),
        (("-X", "dev"), {"PYTHONIOENCODING": "latin1"}),
    ],
)
def test_unbuffered_streams_and_other_encodings(
    launch: Launcher, options: tuple[str, ...], env: dict[str, str | None]
) -> None:
    obedient = Obedient(launch, options=options, env=env)
    with watching(obedient.program) as watch:
        obedient.do(
            """
            print('text ä', flush=True)
            if sys.version_info >= (3, 12, 4):
                sys.stdout.buffer.write('bytes ä\\n'.encode(sys.stdout.encoding))
            sys.stdout.flush()
            sys.stderr.write('error ä\\n')
            print('the end', flush=True)
            """
        )
        expected = "text ä\nbytes ä\nthe end\n"
        if not BUFFERS_ARE_SAFE:
            expected = expected.replace("bytes ä\n", "")
        assert watch.wait_for("the end\n") == expected
        assert watch.wait_for("ä\n", "stderr") == "error ä\n"
    wait_for(lambda: as_found(obedient), "the streams to be as found")
    encoding = "latin1" if options == ("-X", "dev") else "utf-8"
    assert Path(obedient.program.stdout_file).read_bytes() == expected.encode(encoding)


def test_a_terminal_stays_line_buffered_and_gets_every_byte(launch: Launcher) -> None:
    ours, theirs = pty.openpty()
    try:
        obedient = Obedient(launch, shell=f">{os.ttyname(theirs)}")
        with watching(obedient.program) as watch:
            obedient.do("print('line', sys.stdout.isatty()); print('no line', end='')")
            assert watch.wait_for("no line") == "line True\nno line"
            got = read_terminal(ours, b"\n")
            assert got == b"line True\r\n"
            watch.run("print('cell', flush=True); sys.stdout.flush()")
            obedient.do("print(flush=True)")
            assert read_terminal(ours, b"\n") == b"no line\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def read_terminal(fd: int, end: bytes) -> bytes:
    got, deadline = b"", time.monotonic() + 30
    os.set_blocking(fd, False)
    while end not in got:
        assert time.monotonic() < deadline, got
        try:
            got += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.005)
    return got


def test_a_file_that_the_program_lets_go_is_closed_at_once(launch: Launcher) -> None:
    obedient = Obedient(launch, TEES)
    obedient.do("original = sys.stdout")
    with watching(obedient.program) as watch:
        for make in (
            "open('own.txt', 'w')",
            "Tee(open('own.txt', 'w'))",
            "codecs.getwriter('utf-8')(open('own.txt', 'wb'))",
        ):
            obedient.do(f"import weakref; sys.stdout = {make}; let_go = weakref.ref(sys.stdout)")
            watch.run("print('a cell')")
            obedient.do("print('written by', type(sys.stdout).__name__)")
            let_go = "sys.stdout = original; answer = let_go() is None, open('own.txt').read()"
            is_gone, text = obedient.do(let_go)
            assert is_gone, make
            assert text.startswith("written by")
        assert watch.run("print('a cell')").stdout == "a cell\n"


def test_a_file_in_a_cycle_is_written_when_it_is_collected(launch: Launcher) -> None:
    obedient = Obedient(launch, TEES)
    obedient.do("import gc; original = sys.stdout; gc.disable()")
    with watching(obedient.program) as watch:
        obedient.do("""
            binary = open('written', 'wb')  # outlives the text stream, which closes it
            sys.stdout = io.TextIOWrapper(binary); sys.stdout.cycle = [sys.stdout]
        """)
        watch.run("")
        obedient.do("print('some text'); sys.stdout = original; gc.collect()")
        collected = "answer = pathlib.Path('written').read_text()"
        assert obedient.do(collected) == "some text\n"
        obedient.do("""
            class Footer(Tee):
                def __del__(self): self.write("the end\\n"); self.flush()
            kept = open('footed', 'w'); sys.stdout = Footer(kept); sys.stdout.cycle = [sys.stdout]
        """)
        watch.run("")
        obedient.do("print('text'); sys.stdout = original; gc.collect()")
        assert obedient.do("answer = pathlib.Path('footed').read_text()") == "text\nthe end\n"
    obedient.end()
    assert obedient.program.stderr == ""


@pytest.mark.parametrize("replacement", ["None", "Slots()"])
def test_a_stand_in_may_go_in_the_middle_of_a_print(launch: Launcher, replacement: str) -> None:
    program = launch(f"""
        import sys
        class Slots:
            __slots__ = ()
            def write(self, text): return len(text)
            def flush(self): pass
        sys.stdout = {replacement}
        while True: print("a", "b", "c", "d")
    """)
    with program.client() as client:
        for _ in range(100):
            assert client.run("1").status == "ok"
    assert program.is_running(), program.describe()
