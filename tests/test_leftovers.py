"""What dead processes left goes when another one ends or is forked; what may live stays."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Launcher, Program, wait_for

ENDS = "while not os.path.exists('end'): time.sleep(0.01)"


def left(program: Program) -> set[str]:
    """Return the names of all files that consoles have, in both folders."""
    folders = program.runtime_dir, Path(program.env["XDG_RUNTIME_DIR"]) / "rtconsole"
    return {path.name for folder in folders for path in folder.rglob("*-*")}


def of(pid: int) -> set[str]:
    return {f"kernel-rt-{pid}.json", *(f"{pid}-{number}" for number in range(1, 6))}


def killed(launch: Launcher, change: Callable[[dict[str, Any]], None] = lambda info: None) -> int:
    """Start a program, change what its file says, kill it, and return its pid."""
    for _ in range(5):
        program = launch("import time\ntime.sleep(60)", name="killed.py")
        path, info = program.connection_file, program.info
        change(info)
        path.write_text(json.dumps(info))
        program.signal(signal.SIGKILL)
        program.wait()
        if of(program.pid) <= left(program):  # else a list of another test's was there first
            return program.pid
    pytest.fail("a killed process leaves nothing to be removed")


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_that_skip_their_end_leave_nothing_once_the_program_ends(
    launch: Launcher, method: str
) -> None:
    program = launch(
        f"""
        import multiprocessing, os
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            with context.Pool(2) as pool: pool.map(abs, range(4))  # then it is terminated
            child = context.Process(target=print); child.start(); child.join()
        """
    )
    assert program.wait() == 0, program.describe()
    assert not left(program)


@pytest.mark.parametrize("method", ["os.fork", "forkserver"])
def test_a_program_that_recycles_its_workers_keeps_the_files_of_one_generation(
    launch: Launcher, method: str
) -> None:
    program = launch(
        f"""
        import os, time
        def work():
            if {method!r} == "os.fork":
                pid = os.fork()
                if pid == 0: os._exit(0)
                os.waitpid(pid, 0)
            else:
                child = context.Process(target=os._exit, args=(0,))
                child.start()
                child.join()
        if __name__ == "__main__":
            import multiprocessing
            context = multiprocessing.get_context("forkserver")
            for _ in range(20): work()
            print("forked", flush=True)
            {ENDS}
        """,
        cwd=launch.home,
    )
    program.wait_for_output("forked")
    # its own, and the last child's unless a list of another test's has removed that
    assert len(list(program.runtime_dir.glob("kernel-rt-*"))) in (1, 2)
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert not left(program)


def test_a_program_that_ends_removes_what_a_killed_one_left_and_nothing_else(
    launch: Launcher,
) -> None:
    living = launch(f"import os, time\n{ENDS}", name="living.py", cwd=launch.home)
    assert living.connection_file
    killed(launch)
    elsewhere = killed(launch, lambda info: info["rtconsole"].update(machine="another machine"))
    # somebody listens at the address: in a container, where the pid is another's
    other = killed(launch, lambda info: info.update(ip=living.info["ip"]))
    # killed before it had written the file, and while it did; another one is at it still
    path = living.connection_file_of(killed(launch))
    (path.parent / "external_kernels" / path.name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)  # a list of another test's may have been there first
    unfinished = path.with_name(f".{path.name}.1.tmp")
    unfinished.touch()
    os.utime(unfinished, (0, 0))
    begun = path.with_name(".kernel-rt-1.json.1.tmp")
    begun.touch()
    (living.runtime_dir / "kernel-rt-.json").touch()
    (living.runtime_dir / "kernel-rt-999999999.json").symlink_to(launch.home / "target")
    ends = launch(None, "-c", "pass")
    assert (ends.wait(), ends.stderr) == (0, "")
    kept = {*of(living.pid), *of(elsewhere), *of(other), "kernel-rt-.json", begun.name}
    assert left(ends) == {*kept, "kernel-rt-999999999.json"}
    assert os.path.exists(living.connection_file)
    (launch.home / "end").touch()
    wait_for(lambda: living.process.poll() is not None, "its end")
    assert not of(living.pid) & left(ends)


@pytest.mark.parametrize("does", ["", "os.fork()", "import rtconsole; rtconsole.start_console()"])
def test_a_child_that_c_forked_leaves_its_parents_console_alone(
    launch: Launcher, does: str
) -> None:
    program = launch(
        f"""
        import ctypes, os, sys, time
        parent = os.getpid()
        pid = ctypes.PyDLL(None).fork()  # no at-fork handler is called, as in uWSGI's workers
        if pid == 0:
            {does or "pass"}
            while not os.path.exists("looked"): time.sleep(0.01)
            sys.exit()
        os.waitpid(pid, 0)
        print("waited", flush=True)
        {ENDS}
        """,
        cwd=launch.home,
    )
    consoles = {"": 1, "os.fork()": 3}.get(does, 2)
    wait_for(lambda: len(list(program.runtime_dir.glob("kernel-rt-*"))) == consoles, "consoles")
    (launch.home / "looked").touch()
    program.wait_for_output("waited")
    with program.client() as client:
        assert client.value("(__import__('os').getpid(), parent)") == (program.pid, program.pid)
    (launch.home / "end").touch()
    assert (program.wait(), program.stderr) == (0, "")
    wait_for(lambda: not left(program), "the end of all")
