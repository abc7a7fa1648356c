"""The end of a program that was looked into: its objects end as without us."""

import re
import sys
import textwrap
from typing import Any

import pytest
from harness import Launcher, Program, wait_for

# Objects of all kinds that speak when they end, by the names of their module; and files,
# in cycles, whose text is still in the buffer.
HELPER = """
    import os, sys

    def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    class Told:
        def __init__(self, name): self.name = name
        def __del__(self): say("end of", self.name, "__main__" in sys.modules)

    def cycle(name, **also):
        told = Told(name)
        told.me = told
        vars(told).update(also)
        return told

    inside = cycle("a helper's global")
    """
PROGRAM = """
    import atexit, gc, os, sys, time
    {first}
    from helper import Told as Base, cycle, say

    class Told(Base):
        def __del__(self): say("end of", whose, self.name)
    whose = "the program's"
    a, _b, c = Told("global"), Told("underscore"), cycle("cycle")
    unwritten = cycle("file's holder", file=open(sys.argv[1], "w"))
    unwritten.file.write("unwritten")
    class Node: pass
    node = Node()
    node.node, node.file = node, open(sys.argv[1] + ".too", "w")
    node.file.write("unwritten, too")
    def function(default=Told("default")): return default
    Told.attribute = cycle("class's attribute")
    def failing(of): raise ValueError(of)

    @atexit.register
    def last():
        import asyncio, tornado.ioloop, traitlets.config
        say("atexit", asyncio.run(asyncio.sleep(0, "done")), tornado.ioloop.__name__)
        gc.collect()
        cycle("garbage")

    print("ready", flush=True)
    while {wait} and not globals().get("done") and not os.path.exists("end"): time.sleep(0.01)
    globals().pop("done", None)
    {last}
    """
USER = """
    import IPython, traitlets, zmq
    class Mine(traitlets.HasTraits):
        number = traitlets.Int(1)
        @traitlets.observe("number")
        def seen(self, change): say("observed", change["new"])
    class Shell(IPython.InteractiveShell): pass
    socket = zmq.Context.instance().socket(zmq.PUB)
    """
CELLS = (
    "1 + 1",
    "a",
    "[c, _]",
    "failing(a)",
    "%who",
    "await __import__('asyncio').sleep(0, c)",
    "function?",
    "import sys; sys.last_value",
    "%timeit -n1 -r1 function()",
    "shell = get_ipython(); shell.events.register('post_run_cell', lambda result, a=a: None)",
    "shell.set_custom_completer(lambda *arguments, a=a: [a])\ndel shell",
)


class Ending:
    """What a program leaves: its status, what it printed, its files."""

    def __init__(self, program: Program) -> None:
        self.status = program.wait()
        # Within one collection the order is that of the last one; what is where differs.
        self.stdout = sorted(program.stdout.splitlines())
        self.stderr = sorted(re.sub("0x[0-9a-f]+", "", program.stderr).splitlines())
        self.files = [path.read_text() for path in sorted(program.home.glob("written*"))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ending) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "\n".join(map(str, vars(self).values()))


def start(launch: Launcher, console: bool, first: str = "", last: str = "", *options: str) -> Any:
    """Start the program; with a console it waits for the global ``done``."""
    launch.script(HELPER, "helper.py")
    first, last = textwrap.dedent(first), textwrap.dedent(last)
    source = textwrap.dedent(PROGRAM).format(first=first, last=last, wait=console)
    env = None if console else {"RTCONSOLE": None}
    written = str(launch.home / "written")
    python = [sys.executable, *options]
    program = launch(source, written, python=python, env=env, cwd=launch.home)
    program.wait_for_output("ready")
    return program


@pytest.mark.parametrize("options", [(), ("-X", "dev", "-W", "error")], ids=["usual", "dev"])
@pytest.mark.parametrize("first", ["", USER], ids=["alone", "with an IPython of its own"])
def test_objects_end_as_without_a_visit(
    launch: Launcher, first: str, options: tuple[str, ...]
) -> None:
    plain = Ending(start(launch, False, first, "", *options))
    assert "end of the program's default" in plain.stdout
    assert plain.files == ["unwritten", "unwritten, too"]
    program = start(launch, True, first, "", *options)
    with program.client() as client:
        for code in CELLS:
            client.run(code)
        # by no cell, which would still run, and keep what it names; the client is there
        wait_for(program.rests, "the last cell to be over")
        (launch.home / "end").touch()
        assert Ending(program) == plain


def test_what_only_the_console_has_ends_too(launch: Launcher) -> None:
    program = start(launch, True)
    with program.client() as client:
        client.run("cycle('result')")
        client.run("raise ValueError(cycle('error'))")
        wait_for(program.rests, "the cell to be over")
        (launch.home / "end").touch()
        ending = Ending(program)
    assert {"end of result True", "end of error True"} <= set(ending.stdout)
    assert ending.stderr == []


@pytest.mark.parametrize(
    "code", ["import asyncio; task = asyncio.ensure_future(asyncio.sleep(60))", "while True: pass"]
)
def test_files_are_written_though_a_cell_has_not_ended(launch: Launcher, code: str) -> None:
    program = start(launch, True)
    with program.client() as client:
        client.send(f"done = True\n{code}")
        assert Ending(program).files == ["unwritten", "unwritten, too"]


LAST = {
    "stopping the console": "import rtconsole; rtconsole.stop_console(); del rtconsole",
    "forking": """
        import warnings
        warnings.simplefilter("ignore")  # of forking beside threads
        if os.fork(): os.wait()
        """,
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
def test_objects_end_as_without_a_visit_after(launch: Launcher, last: str) -> None:
    plain = Ending(start(launch, False, last=last))
    program = start(launch, True, last=last)
    with program.client() as client:
        client.run("a")
        wait_for(program.rests, "the cell to be over")
        (launch.home / "end").touch()
        assert Ending(program) == plain


def test_each_import_of_a_boot_waits_for_a_program_that_ends(launch: Launcher) -> None:
    # one that goes on while the interpreter is taken down crashes it (Python 3.11)
    program = launch(
        """
        import sys, threading, time
        from rtconsole import listener
        class Spy:
            def find_spec(self, name, path=None, target=None):
                opened, ident = listener.current, threading.get_ident()
                if ident != threading.main_thread().ident and opened.state == "booting":
                    seen.append((name, opened.gate.locked()))
        seen = []
        sys.meta_path.insert(0, Spy())
        print("ready", flush=True)
        while True: time.sleep(0.01)
        """
    )
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.run("[name for name, is_held in seen if not is_held]").result == "[]"
        assert client.run("len(seen) > 100").result == "True"


@pytest.mark.parametrize("stays", [True, False], ids=["attached", "left"])
def test_what_destructors_print_is_written_out(launch: Launcher, stays: bool) -> None:
    # not by a flush: when the stream itself goes, as the interpreter's last objects do
    program = launch(
        """
        import os, sys, time
        class Told:
            def __del__(self):
                print("end of", self.name)
                print("and a part of a line", end="", file=sys.stderr)
        told = Told()
        told.name, told.cycle = "an object", told
        ours = sys.stdout
        sys.stdout = open("text", "w")
        print("written out when it is let go")
        while not os.path.exists("go"): time.sleep(0.01)
        sys.stdout = ours
        print(open("text").read(), end="")
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.run("1 + 1")
        client.run("1 / 0")
        if stays:
            (launch.home / "go").touch()
            (launch.home / "end").touch()
            assert program.wait() == 0
    (launch.home / "go").touch()
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert program.stdout == "written out when it is let go\nend of an object\n"
    assert program.stderr == "and a part of a line"


@pytest.mark.parametrize("late", ["its request", "its leaving"])
def test_destructors_print_though_what_a_client_did_ends_with_the_program(
    launch: Launcher, late: str
) -> None:
    """On a busy machine the console's threads are late by that much."""
    slow = """
        import threading, time
        from rtconsole import listener
        def delay(owner, name):
            original = getattr(owner, name)
            def delayed(*arguments):
                original(*arguments)
                if late and arguments in ((), (0,)): begun.wait(20); time.sleep(0.005)
            setattr(owner, name, delayed)
        def let_go(original=listener.current.kernel.let_go):
            begun.set()
            original()
        running, begun, late = listener.current.kernel, threading.Event(), []
        running.let_go = let_go
        """
    launch.script(slow, "slow.py")
    program = launch(
        """
        import os, time
        class Told:
            def __del__(self):
                print("end of", self.name)
        told = Told()
        told.name, told.cycle = "an object", told
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        owner, name = {
            "its request": ("running.kernel.routes", "_remove"),
            "its leaving": ("running.kernel._status", "clients_are"),
        }[late]
        client.run("import slow")
        client.run(f"slow.delay(slow.{owner}, {name!r}); slow.late.append(1)")
    wait_for(program.rests, "the console to be where it waits")
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("end of an object\n", "")
