"""What programs write, byte for byte, beside what they write without rtconsole."""

import sys
import textwrap

import pytest
from harness import Launcher, Program

# Each waits where it says so: there a client has attached, or has gone on running cells.
WAITS = """
import os as _os, time as _time
def wait(name):
    while not _os.path.exists(name): _time.sleep(0.002)
wait("attached")
"""

CORPUS = {
    "a print loop": """
        for n in range(300):
            print("line", n, n * "x")
            print("no end", end=" ", flush=not n % 7)
            if not n % 20: _time.sleep(0.002)
        wait("cells")
        """,
    "tqdm": """
        import tqdm
        tqdm.tqdm.monitor_interval = 0
        bar = "{desc} {percentage:3.0f}% {bar} {n}/{total}"
        for n in tqdm.tqdm(range(50), bar_format=bar, mininterval=0, ncols=60, ascii=True):
            if n % 10 == 0: tqdm.tqdm.write(f"step {n}")
        wait("cells")
        options = dict(bar_format=bar, mininterval=0, ncols=60, file=_sys.stdout)
        for n in tqdm.tqdm(range(9), **options): pass
        """,
    "rich": """
        from rich.console import Console
        from rich.progress import Progress, BarColumn
        from rich.table import Table
        console = Console(force_terminal=True, width=60, color_system="256")
        table = Table(title="A table"); table.add_column("ä€"); table.add_row("[bold red]x")
        console.print(table)
        wait("cells")
        with Progress(BarColumn(), console=console, auto_refresh=False) as progress:
            task = progress.add_task("", total=5)
            for n in range(5):
                progress.advance(task); progress.refresh(); print("printed", n)
        console.print_json('{"a": [1, 2]}')
        """,
    "logging": """
        import logging, logging.config
        logging.basicConfig(level="INFO", format="%(levelname)s %(name)s %(message)s")
        wait("cells")
        logging.getLogger("new").addHandler(logging.StreamHandler(_sys.stdout))
        for n in range(100):
            logging.getLogger("new").info("message %s", n)
        try: 1 / 0
        except ZeroDivisionError: logging.exception("caught")
        """,
    "an argparse error": """
        import argparse
        parser = argparse.ArgumentParser(prog="corpus"); parser.add_argument("--number", type=int)
        parser.print_help()
        wait("cells")
        parser.parse_args(["--number", "x"])
        """,
    "a traceback": """
        print("begin")
        def fail(): raise LookupError("ä €") from ValueError("cause")
        wait("cells")
        fail()
        """,
    "sys.exit with a message": "print('out', end='')\nwait('cells')\n_sys.exit('message')",
    "warnings": """
        import warnings
        warnings.simplefilter("always")
        for n in range(3): warnings.warn(f"warning {n}", DeprecationWarning)
        wait("cells")
        warnings.warn("the last")
        """,
    "os.write and the raw stream": """
        import os
        print("buffered", end=""); os.write(1, b"first\\n"); _sys.stdout.flush()
        wait("cells")
        _sys.stdout.buffer.write(b"\\xff\\0bytes"); os.write(2, b"error\\n")
        _sys.stdout.buffer.raw.write(b"raw\\n")
        """,
    "subprocesses": """
        import subprocess
        print("before", flush=True)
        subprocess.run(["echo", "child"], check=True)
        wait("cells")
        subprocess.run([_sys.executable, "-c", "print('python child')"], check=True)
        print(subprocess.run(["sh", "-c", "echo err >&2; echo out"], stderr=2))
        print("after")
        """,
    "four threads": """
        import threading
        turn = [0]; changed = threading.Condition()
        def work(me):
            for n in range(30):
                with changed:
                    changed.wait_for(lambda: turn[0] % 4 == me)
                    print("thread", me, "line", n); print(me, file=_sys.stderr)
                    turn[0] += 1
                    changed.notify_all()
        threads = [threading.Thread(target=work, args=[i]) for i in range(4)]
        for thread in threads: thread.start()
        wait("cells")
        for thread in threads: thread.join()
        def fail(): raise KeyError("in a thread")
        thread = threading.Thread(target=fail, name="failing"); thread.start(); thread.join()
        """,
    "asyncio": """
        import asyncio
        async def tick(name):
            for n in range(5):
                print(name, n); await asyncio.sleep(0)
        async def main():
            await asyncio.gather(*(tick(name) for name in "abc"))
            await asyncio.to_thread(wait, "cells")
            asyncio.get_running_loop().call_exception_handler({"message": "unhandled"})
            process = await asyncio.create_subprocess_exec("echo", "child", stdout=None)
            await process.wait()
        asyncio.run(main(), debug=False)
        """,
    "both streams in one file": """
        for n in range(50):
            print("out", n, flush=not n % 7); print("err", n, file=_sys.stderr)
        wait("cells")
        print("the last words, not flushed")
        """,
    "os._exit": "print('lost'); print('kept', flush=True); wait('cells'); print('x'); _os._exit(7)",
}


@pytest.mark.parametrize("name", CORPUS)
def test_output_and_exit_code_are_the_programs_own(launch: Launcher, name: str) -> None:
    source = launch.script("import sys as _sys" + WAITS + textwrap.dedent(CORPUS[name]))
    kinds = {"plain": None, "dormant": "1", "attached": "1"}
    programs = {}
    for kind, switch in kinds.items():
        folder = launch.home / kind
        folder.mkdir()
        one_file = name == "both streams in one file"
        programs[kind] = launch(
            source,
            cwd=folder,
            env={"RTCONSOLE": switch},
            python=["/bin/sh", "-c", 'exec "$0" "$@" 2>&1', sys.executable] if one_file else None,
        )
        if kind != "attached":
            (folder / "attached").touch()
            (folder / "cells").touch()
    attached = programs["attached"]
    with attached.client() as client:
        assert client.run("print('a cell', flush=True); import sys").stdout == "a cell\n"
        (launch.home / "attached" / "attached").touch()
        for n in range(5):
            cell = f"print('cell', {n}); sys.stderr.write('error\\n'); sys.stdout.flush(); 1"
            assert client.run(cell).stdout == f"cell {n}\n"
        (launch.home / "attached" / "cells").touch()
        client.send("while True: print('to the end'); time.sleep(0.001)")
        attached.wait()
    expected = everything(programs["plain"])
    assert everything(programs["dormant"]) == expected
    assert everything(attached) == expected
    assert b"the last" in expected[1] or name != "both streams in one file"


def everything(program: Program) -> tuple[int, bytes, bytes]:
    return program.wait(), program.stdout_file.read_bytes(), program.stderr_file.read_bytes()


@pytest.mark.parametrize("how", ["sys.stdout.buffer", "sys.stdout.detach()"])
def test_what_a_programs_own_text_stream_holds_back_at_its_end_is_written(
    launch: Launcher, how: str
) -> None:
    # flushed by the interpreter, not from any Python code, when the main module has ended
    program = launch(
        f"""
        import io, os, sys, time
        while not os.path.exists("go"): time.sleep(0.01)
        sys.stdout = io.TextIOWrapper({how}, "utf-8")
        print("held back")
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.run("1 + 1")
        (launch.home / "go").touch()
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("held back\n", "")
