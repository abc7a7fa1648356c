"""Imports that Python puts off until what they import is used (PEP 810): the program's stay so."""

import sys

import pytest
from harness import Launcher

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="Python 3.15 is the first")

# Modules that the kernel imports, too: beside the script they are the program's.
NAMES = ("comm", "html", "json", "queue", "random", "tornado")

PROGRAM = """
import os, sys, time
import html
exec("lazy import side\\nlazy from side import value")
mode = sys.get_lazy_imports()
lazy = lambda: sorted(k for k, v in list(globals().items()) if type(v).__name__ == "lazy_import")
used, before = (os.name, time.time), lazy()
while not os.path.exists("go"): time.sleep(0.005)
print(before, before == lazy())
print(mode == sys.get_lazy_imports(), sys.get_lazy_imports_filter(), flush=True)
print(value)
"""


def run(launch: Launcher, mode: str, *shadowed: str) -> list[str]:
    """Visit a program, let it end, and return the lines that it and its modules have printed."""
    for name in shadowed:
        launch.script(f"print('ran {name}')", f"{name}.py")
    launch.script("print('ran side')\nvalue = 41", "side.py")
    options = [sys.executable, "-X", f"lazy_imports={mode}"]
    program = launch(PROGRAM, python=options, cwd=launch.home)
    for _ in range(2):
        with program.client() as client:
            assert client.run("6 * 7").result == "42"
            assert client.run("dir()").status == "ok"
            assert "side" in client.run("%whos").stdout
            assert client.run("1 / 0").error == "ZeroDivisionError"
            assert client.run("await __import__('asyncio').sleep(0)").status == "ok"
            assert client.run("side?").status == "ok"
            reply = client.shell_reply(client.kernel.complete("sid"))
            assert reply["matches"] == ["side"]
    (launch.home / "go").touch()
    assert program.wait() == 0, program.describe()
    assert program.stderr == ""
    return program.stdout.splitlines()


def test_a_visit_makes_no_import_that_the_program_has_put_off(launch: Launcher) -> None:
    lines = run(launch, "normal")
    assert lines == ["['side', 'value'] True", "True None", "ran side", "41"]


def test_where_all_are_put_off_the_kernels_imports_are_made_and_are_its_own(
    launch: Launcher,
) -> None:
    lines = run(launch, "all", *NAMES)
    assert lines == ["['html', 'side', 'value'] True", "True None", "ran side", "41"]


def test_what_a_kernel_is_made_of_is_imported_at_once(launch: Launcher) -> None:
    program = launch(
        """
        import os, sys, time
        def put_off(*packages):
            return [
                (name, key) for name, module in list(sys.modules.items())
                if name.partition(".")[0] in packages
                for key, value in list(vars(module).items())
                if type(value).__name__ == "lazy_import"
            ]
        while True: time.sleep(0.01)
        """,
        python=[sys.executable, "-X", "lazy_imports=all"],
    )
    with program.client() as client:
        names = "'ipykernel', 'IPython', 'jupyter_client', 'tornado', 'traitlets', 'zmq'"
        assert client.value(f"put_off({names})") == []
        assert client.value("len([n for n in sys.modules if n.startswith('IPython')])") > 20
