"""What a boot enters in sys.modules and does not run is, for the program, as if it had been."""

import sys
from importlib.machinery import PathFinder

import pytest
from harness import Launcher, Program

from rtconsole import native
from rtconsole.kernel import finders

# Waits for a visit's end, then does what the test says with modules that were deferred.
AFTERWARDS = """
import os, sys, time
while not os.path.exists("go"): time.sleep(0.005)
{}
print("as ever")
"""


@pytest.fixture
def deferred_in() -> str:
    return "[n for n, m in __import__('sys').modules.items() if type(m).__name__ == 'Deferred']"


def visited(launch: Launcher, then: str) -> Program:
    """Return a program that was looked into and then did something, ended."""
    program = launch(AFTERWARDS.format(then), cwd=launch.home)
    with program.client() as client:
        client.run("1 + 1")
    (launch.home / "go").touch()
    assert program.wait() == 0, program.describe()
    return program


def test_a_visit_leaves_out_what_it_does_not_use(launch: Launcher, deferred_in: str) -> None:
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        for code in ("1 + 1", "print('x')", "1 / 0", "%who", "import os; os.getcwd?"):
            client.run(code)
        deferred = client.value(deferred_in)
        if native.is_wanted():  # gevent or eventlet is installed here: see kernel.imports
            assert {*deferred} == {"_strptime", "dateutil.parser", "dateutil.tz"}
            return
        missing = {"jupyter_client", "ipykernel", "logging.config", "dateutil.parser", "random"}
        assert missing <= set(deferred)
        assert not client.value("[n for n in __import__('sys').modules if n == 'ipaddress']")


def test_a_visit_does_not_ask_how_python_was_built(launch: Launcher) -> None:
    """The standard library reads that for milliseconds under a lock, which the program may hold,
    and which eventlet, if it patches just then, writes of.
    """
    asks = """
        import sysconfig, time
        asked = []
        def note(*arguments):
            asked.append(arguments)
            return variables(*arguments)
        variables, sysconfig.get_config_vars = sysconfig.get_config_vars, note
        while True: time.sleep(0.01)
        """
    with launch(asks).client() as client:
        for code in ("1 + 1", "print('x')", "1 / 0", "import os; os.getcwd?"):
            client.run(code)
        assert client.value("asked") == []


def test_a_traceback_does_not_import_what_else_is_installed(launch: Launcher) -> None:
    """It adds to the program's warning filters; who imports it later finds it, and its nodes."""
    source = """
        import warnings
        warnings.filterwarnings("ignore", "of astroid")
        class NodeNG: pass
        class BaseContainer(NodeNG): pass
        class Const(NodeNG): pass
        """
    launch.script(source, "packages/site-packages/astroid/nodes.py")
    launch.script("", "packages/site-packages/astroid/__init__.py")
    path = str(launch.home / "packages/site-packages")
    program = launch("import time\nwhile True: time.sleep(0.01)", env={"PYTHONPATH": path})
    with program.client() as client:
        reply = client.run("def f(x): return x[1 / 0]\nf(1)")
        assert "----> 1 def f(x): return x[1 / 0]" in reply.traceback.replace("\x1b[0m", "") or (
            "ZeroDivisionError" in reply.traceback
        )
        assert client.value("[m for m in __import__('sys').modules if m[:7] == 'astroid']") == []
        assert client.value("'astroid' in str(__import__('warnings').filters)") is False
        client.run("from asttokens.mark_tokens import nc; from astroid import nodes")
        assert client.value("[isinstance(it, nc.Const) for it in (nodes.Const(), 1)]") == [1, 0]


@pytest.mark.parametrize(
    "then",
    {
        "a package": "import jupyter_client; jupyter_client.BlockingKernelClient()",
        "a name": "from urllib.parse import quote; assert quote('ä') == '%C3%A4'",
        "all names": "from random import *; assert 0 <= random() < 1 and randint(1, 1) == 1",
        "a submodule": "import jupyter_client.manager; jupyter_client.manager.KernelManager",
        "its version": "import ipykernel; assert ipykernel.__version__[0].isdigit()",
        "what is in it": "import random; assert 'choice' in dir(random)",
        "no such name": "import random\ntry: random.nothing\nexcept AttributeError: pass\n"
        "else: sys.exit(1)",
        "a name that is set": "import random; random.random = 4; random.choice; "
        "assert random.random == 4",
        "a name that is deleted": "import random; del random.choice; "
        "assert not hasattr(random, 'choice')",
        "again": "import importlib, random; importlib.reload(random); random.choice([1])",
        "a class": "import random; random.choice; assert type(random) is type(os)",
        "a logging configuration": "import logging.config; "
        "logging.config.dictConfig({'version': 1}); logging.config.fileConfig",
    }.items(),
    ids=lambda item: item[0],
)
def test_the_program_finds_modules_as_ever(launch: Launcher, then: tuple[str, str]) -> None:
    program = visited(launch, then[1])
    assert (program.stdout, program.stderr) == ("as ever\n", "")


def test_who_goes_through_all_modules_loads_none(launch: Launcher, deferred_in: str) -> None:
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        before = client.value(deferred_in)
        reply = client.run(
            """
            import sys
            for module in sys.modules.values():
                for name in ("__warningregistry__", "__file__", "__wrapped__", "__doc__"):
                    getattr(module, name, None)
                if hasattr(module, "__path__"):
                    list(module.__path__)
                    module.__file__ = getattr(module, "__file__", None)
            """
        )
        assert reply.status == "ok", reply
        assert client.value(deferred_in) == before


def test_threads_that_need_one_at_once_all_get_it(launch: Launcher) -> None:
    program = visited(
        launch,
        """
import threading
found, barrier = [], threading.Barrier(8)
import urllib.parse, jupyter_client
def need():
    barrier.wait()
    found.append((urllib.parse.quote("a b"), jupyter_client.KernelManager.__name__))
threads = [threading.Thread(target=need) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == [("a%20b", "KernelManager")] * 8, found
""",
    )
    assert (program.stdout, program.stderr) == ("as ever\n", "")


def test_a_stand_in_does_what_it_stands_for(launch: Launcher) -> None:
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        client.run(
            """
            from datetime import datetime, timedelta, timezone
            import ipykernel.zmqshell, jupyter_client.jsonutil as jsonutil
            """
        )
        assert client.run("ipykernel.zmqshell.get_connection_file()").error == "RuntimeError"
        assert client.value("type(jsonutil.tzlocal()).__module__") == "dateutil.tz.tz"
        for text, offset in [("Z", 0), ("+02:00", 2), ("+0200", 2), (".123456-01:30", -1.5)]:
            date = f"2026-02-03T04:05:06{text}"
            client.run(f"parsed = jsonutil.parse_date({date!r})")
            assert client.value("parsed.utcoffset() / timedelta(hours=1)") == offset
            assert client.value("(parsed.year, parsed.hour, parsed.second)") == (2026, 4, 6)


def test_an_import_of_the_programs_passes_by_no_finder_as_ours_go() -> None:
    before = sys.meta_path[:]
    for position in range(len(before) + 1):
        one, another = PathFinder(), PathFinder()
        finders.put(one)
        finders.put(another)
        going_through = iter(sys.meta_path)
        asked = [next(going_through) for _ in range(position)]
        finders.take(one)
        assert next(iter(finders.others(PathFinder))) is before[0]
        finders.take(another)
        asked += going_through
        assert len(asked) == len(before)
        assert asked[position:] == before[position:]
        assert sys.meta_path == before
