"""What a look into a program leaves behind: nothing."""

import json
from pathlib import Path

import pytest
from footprint import differences
from harness import Client, Launcher, Program, wait_for

# Takes a picture when asked to by a file, and writes it into another.
PROGRAM = """
import json, logging, os, sys, threading, time, warnings
import footprint
logging.basicConfig(level=logging.WARNING, format="%(message)s")
logging.getLogger("mine").setLevel(logging.DEBUG)
warnings.simplefilter("default")
time.localtime()
os.environ["TZ"] = "XYZ-5"  # means nothing here before somebody calls time.tzset()
def pictures():
    number = 0
    while True:
        while not os.path.exists(f"want{number}"): time.sleep(0.005)
        picture = footprint.take(globals())
        with open("picture", "w") as file: json.dump(picture, file, default=repr)
        os.rename("picture", f"picture{number}")
        del picture
        number += 1
t = 0
pictures()
"""

CELLS = [
    "x_of_a_cell = 1; del x_of_a_cell",
    "1/0",
    "import sys; sys.exit(3)",
    "%who",
    "%timeit -n 1 -r 1 pass",
    "%%capture captured\nprint('hidden')",
    "del captured",
    "footprint.take?",
    "footprint.take??",
    "print('out'); print('err', file=sys.stderr)",
    "from IPython.display import HTML; display(HTML('<b>x</b>')); del HTML",
    "import asyncio as a; await a.sleep(0.01); del a",
    "!true",
    "_",
    "import warnings as w; w.warn('careful'); del w",
    "def f(): return undefined_name\nf()",
    "del f",
    "%debug?",
    "1/0",
    "%debug",
    "breakpoint()",
    "%matplotlib --list",
    "%env TERM",
    "%precision",
    "%xmode Plain",
    "%lsmagic",
    "import getpass as g; g.getpass('? ')",
    "del g",
    "input('? ')",
    "class C:\n    def _repr_html_(self): return '<i>c</i>'\nC()",
    "del C",
]

ANSWERS = {
    "%debug": "q",
    "breakpoint()": "c",
    "import getpass as g; g.getpass('? ')": "secret",
    "input('? ')": "answer",
}


def picture(program: Program, number: int) -> dict[str, object]:
    Path(program.home, f"want{number}").touch()
    path = Path(program.home, f"picture{number}")
    wait_for(path.exists, "the picture")
    taken: dict[str, object] = json.loads(path.read_text())
    return taken


def use(client: Client) -> None:
    """Do what people do."""
    for cell in CELLS:
        message_id = client.send(cell, allow_stdin=True)
        if cell in ANSWERS:
            client.kernel.get_stdin_msg(timeout=30)
            client.kernel.input(ANSWERS[cell])
        client.finish(message_id)
    client.kernel.complete("footprint.ta", 12)
    client.kernel.inspect("footprint.take", 10)
    client.kernel.is_complete("for x in y:")
    client.run("1")


@pytest.mark.parametrize("imported", ["sys", "asyncio, concurrent.futures, IPython"])
def test_a_look_leaves_nothing_behind(launch: Launcher, imported: str) -> None:
    env: dict[str, str | None] = {"PYTHONPATH": str(Path(__file__).parent)}
    if "asyncio" in imported:  # and a module of its own that is called as one of the kernel's
        launch.script("", "comm.py")
    program = launch(f"import {imported}\n{PROGRAM}", cwd=launch.home, env=env)
    assert program.connection_file
    before = picture(program, 0)
    assert not differences(before, picture(program, 1))
    with program.client() as client:
        use(client)
        wait_for(lambda: client.is_silent(0.05), "the client to be idle")
        assert differences(before, picture(program, 2)) == []
    wait_for(lambda: '"idle       0"' in program.connection_file.read_text(), "the client to go")
    assert differences(before, picture(program, 3)) == []
    assert program.stderr == ""


def test_a_dormant_program_is_as_one_without(launch: Launcher) -> None:
    def names(picture: dict[str, object]) -> dict[str, object]:
        """What can be compared between two processes: no identities."""
        return {
            what: value
            for what, value in picture.items()
            if not isinstance(value, int) or what in ("umask", "nice", "wakeup fd")
        }

    env = {"PYTHONPATH": str(Path(__file__).parent), "RTCONSOLE_DEBUG": None}
    source = PROGRAM.replace("number = 0", "number = int(sys.argv[1])")
    without = launch(source, "0", cwd=launch.home, env={**env, "RTCONSOLE": "0"})
    taken = picture(without, 0)
    dormant = launch(source, "1", cwd=launch.home, env={**env, "RTCONSOLE": "1"})
    assert dormant.connection_file
    ours = picture(dormant, 1)
    restless = {"random", "os.environ", "sys.argv", "sys.orig_argv", "sys.meta_path"}
    restless |= {"sys.path_hooks", "gc.callbacks"} | {f"logger {n}" for n in ("root",)}
    found = [one for one in differences(names(taken), names(ours)) if one[0] not in restless]
    assert found == []


def test_callbacks_at_exit_come_in_the_programs_order(launch: Launcher) -> None:
    program = launch(
        """
        import atexit, os, time, weakref
        class Kept: pass
        kept = Kept()
        atexit.register(print, "first registered")
        while not os.path.exists("looked"): time.sleep(0.01)
        atexit.register(print, "registered before finalizers")
        weakref.finalize(kept, print, "a finalizer")
        atexit.register(print, "last registered")
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.run("1")
        Path(launch.home, "looked").touch()
        assert program.wait() == 0
    assert program.stdout.splitlines() == [
        *("last registered", "a finalizer"),
        *("registered before finalizers", "first registered"),
    ]
