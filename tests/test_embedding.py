"""Python inside a program in C: started without argv, ended and started again, with others."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run
from harness import Launcher, Program, wait_for

import sitehook
from rtconsole import unusual

SOURCE = Path(__file__).parent / "embedding.c"

# Goes on until a cell says so. The numbers are of threads and descriptors, before a visit.
WAITS = """
import _thread, os, time
done, x, main = False, 41, _thread.get_ident()
print("begins", len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), flush=True)
while not done and os.path.exists("stay") and not os.path.exists("next"):
    time.sleep(0.005)
if os.path.exists("next"): os.unlink("next")  # the next life stays
print("ends", x, flush=True)
"""


Start = Callable[..., Program]


def compiled(folder: Path) -> Path | None:
    """Return the program in C, linked against this interpreter's library, if that can be."""
    compiler = shutil.which("cc")
    config = sysconfig.get_config_vars()
    include = Path(sysconfig.get_path("include", vars={"base": sys.base_prefix}))
    if compiler is None or not (include / "Python.h").exists():
        return None
    library = Path(config["LIBDIR"]) / str(config["LDLIBRARY"])
    if config.get("Py_ENABLE_SHARED") and not library.exists():
        return None
    if not config.get("Py_ENABLE_SHARED"):
        library = Path(config["LIBPL"]) / str(config["LIBRARY"])
    words = f"{config['LIBS']} {config['SYSLIBS']} {config['LINKFORSHARED']}".split()
    target = folder / "program-in-c"
    rpath = f"-Wl,-rpath,{config['LIBDIR']}"
    done = subprocess.run(
        [
            compiler,
            "-Wall",
            "-o",
            target,
            SOURCE,
            f"-I{include}",
            library,
            *words,
            rpath,
            "-pthread",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = compiled(tmp_path_factory.mktemp("embedding"))
    if program is None:
        pytest.skip("no C compiler, or none of Python's headers and library")
    return program


@pytest.fixture
def start(launch: Launcher, embedding: Path) -> Start:
    """Start the program in C in one of its ways."""

    # By path: what Python finds of a venv in its first life, it may not find in the next.
    paths = [str(Path(sitehook.__file__).parent / "path"), sysconfig.get_path("purelib")]
    found = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHOME": sys.base_prefix}

    def started(how: str, what: str = "0", source: str = WAITS) -> Program:
        (launch.home / "stay").touch()
        script = launch.script(source)
        return launch(
            None,
            how,
            what,
            str(script),
            python=[str(embedding)],
            env=found,
            cwd=launch.home,
            stdin=subprocess.PIPE,
        )

    return started


def leave(program: Program) -> None:
    """End the program, which then has said nothing on stderr, and left nothing."""
    (program.home / "stay").unlink()
    assert program.wait() == 0, program.describe()
    assert program.stderr == ""
    assert not list(program.runtime_dir.rglob("kernel-rt-*"))
    assert not list((program.home / "run").rglob("*-*"))


@pytest.mark.parametrize(
    ("how", "what"),
    [("plain", "0"), ("plain", "1"), ("config", "python"), ("thread", "0")],
)
def test_an_interpreter_that_c_has_started_has_a_console(start: Start, how: str, what: str) -> None:
    program = start(how, what)
    program.wait_for_output("begins")
    assert program.info["kernel_name"] == f"program-in-c ({program.pid})"
    with program.client() as client:
        assert client.value("x") == 41
        client.run("x += 1")
        assert (
            client.value("threading.main_thread() is threading.current_thread()") is False
            if (client.run("import threading").status == "ok")
            else False
        )
    leave(program)
    assert program.stdout.endswith("ends 42\n")


def test_an_interpreter_that_c_has_started_is_listed_by_its_programs_name(
    start: Start, launch: Launcher
) -> None:
    program = start("plain", "0")
    program.wait_for_output("begins")
    rows = json.loads(run(launch, "list", "--json").stdout)
    assert [row["argv"] for row in rows if row["pid"] == program.pid] == [["program-in-c"]]
    named = run(launch, "interrupt", str(program.pid)).stdout
    assert named == f"no cell runs in {program.pid} (program-in-c)\n"
    leave(program)


def test_an_interpreter_with_an_argv_of_the_programs_own_has_one(start: Start) -> None:
    program = start("config", "argv")
    program.wait_for_output("begins")
    with program.client() as client:
        assert client.value("__import__('sys').argv") == ["a-program-in-c", "an argument"]
    leave(program)


def test_an_isolated_interpreter_has_none(start: Start) -> None:
    program = start("config", "isolated")
    program.wait_for_output("begins 1 ")
    leave(program)


def test_a_console_answers_while_c_runs_without_the_interpreter(start: Start) -> None:
    program = start("idle", "0", "x = 41\nprint('idle', flush=True)\n")
    program.wait_for_output("idle")
    with program.client() as client:
        assert client.value("x") == 41
    program.process.communicate(b"\n")
    leave(program)


def test_a_console_answers_after_c_has_forked_and_called_the_at_fork_handlers(start: Start) -> None:
    """As uWSGI's master with its fork hooks, which runs no Python any more."""
    program = start("forks", "0", "x = 41\n")
    program.wait_for_output("forked")
    with program.client() as client:
        assert client.value("x") == 41
    program.process.communicate(b"\n")
    leave(program)


@pytest.mark.parametrize(
    "cell", ["while True: pass", "await asyncio.sleep(1000)", "time.sleep(1000)", "input()"]
)
def test_an_interpreter_that_ends_interrupts_the_cell_that_runs(start: Start, cell: str) -> None:
    """No thread may be left, and C is not to wait for it."""
    program = start("plain", "0")
    with program.client() as client:
        client.send(
            "import asyncio, time, pathlib\n"
            f"try:\n  pathlib.Path('runs').touch()\n  {cell}\n"
            "finally: pathlib.Path('interrupted').touch()"
        )
        wait_for((program.home / "runs").exists, "the cell")
        client.send("x = 'never'")  # it waits, and is not served
        leave(program)
    assert (program.home / "interrupted").exists()
    assert program.stdout.endswith("ends 41\n")
    assert "Task was destroyed" not in program.log


def test_no_thread_of_a_kernel_outlives_the_interpreter(start: Start) -> None:
    source = """
import os, time
while os.path.exists("stay"): time.sleep(0.005)
"""
    program = start("last", "0", source)
    with program.client() as client:
        assert client.value("6 * 7") == 42
        leave(program)


def test_an_interpreter_that_c_never_ends_leaves_its_files_to_the_next_start(start: Start) -> None:
    """As those of PostgreSQL's processes, one for each session."""
    unended = start("unended", "0", "print('one', flush=True)\n")
    gone = unended.connection_file
    assert unended.wait() == 0
    assert gone.exists()
    program = start("plain", "0")
    program.wait_for_output("begins")
    assert not gone.exists()
    assert not list((program.home / "run").rglob(f"{unended.pid}-*"))
    leave(program)


def test_doctor_says_why_a_program_in_c_has_none(start: Start, launch: Launcher) -> None:
    program = start("config", "isolated")
    program.wait_for_output("begins")
    told = run(launch, "doctor", str(program.pid)).stdout
    assert "it has no console" in told
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        assert "a program in C that has Python in it: /" in told
        assert "the start-up hook is on its PYTHONPATH" in told
    leave(program)


# From the second interpreter of a process on: unusual.unsafe_again.
lives_again = pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="no console there")


@lives_again
def test_each_life_has_a_console_of_its_own_and_leaves_no_thread_or_descriptor(
    start: Start,
) -> None:
    # what the program itself has imported in its earlier lives
    program = start("twice", source="import asyncio, ctypes, sqlite3, ssl\n" + WAITS)
    keys = set()
    for life in range(3):
        wait_for(lambda life=life: program.stdout.count("begins") > life, f"life {life}")
        keys.add(program.info["key"])
        if life < 2:
            (program.home / "next").touch()
            wait_for(lambda life=life: program.stdout.count("ends") > life, f"the end of {life}")
    with program.client() as client:  # nobody looked into the earlier ones: zmq is new here
        assert client.value("x") == 41
    leave(program)
    begun = {line for line in program.stdout.splitlines() if line.startswith("begins")}
    assert len(begun) == 1, program.stdout
    assert len(keys) == 3


@lives_again
def test_a_life_after_one_that_was_looked_into_says_why_it_has_no_kernel(start: Start) -> None:
    program = start("twice")
    with program.client() as stays:
        stays.send("done = True")
        wait_for(lambda: program.stdout.count("begins") > 1, "the second life")
        stays.send("x")  # to nobody; what would hear it is gone
    for life in (1, 2):
        wait_for(lambda life=life: program.stdout.count("begins") > life, f"life {life}")
        with program.client() as client:
            reply = client.run("x")
            assert reply.status == "error"
            assert "an earlier interpreter of this process" in reply.traceback
        if life == 1:
            (program.home / "next").touch()
            wait_for(lambda: program.stdout.count("ends") > 1, "the end")
    leave(program)


def test_an_interpreter_that_ends_while_a_kernel_boots_may_start_again(start: Start) -> None:
    program = start("twice")
    with program.client(ready=False) as client:
        client.kernel.kernel_info()
        wait_for(lambda: len(program.task_folders()) > 2, "the boot")
        (program.home / "stay").unlink()
        wait_for(lambda: program.stdout.count("ends") == 3, "the other lives")
    (program.home / "stay").touch()
    leave(program)


def test_what_follows_where_c_modules_crash_has_none(start: Start) -> None:
    source = f"""
import os, sys, time
{WAITS}
file = os.path.expanduser(f"~/.local/share/jupyter/runtime/kernel-rt-{{os.getpid()}}.json")
print(os.path.exists(file), "RTCONSOLE_ENDED" in os.environ, flush=True)
"""
    program = start("twice", source=source)
    with program.client() as client:
        client.run("import ssl")
        (program.home / "stay").unlink()
        has_one = [line for line in wait_for_end(program) if line.startswith(("True", "False"))]
    again = sys.version_info[:2] != (3, 12)
    assert has_one == ["True False", f"{again} False", f"{again} False"]
    assert ("crashes when C modules" in program.log) is not again
    assert program.stderr == ""


def test_where_a_second_interpreter_is_unsafe() -> None:
    assert unusual.unsafe_again((3, 12))
    assert unusual.unsafe_again((3, 11)) is None
    assert unusual.unsafe_again((3, 13)) is None


def wait_for_end(program: Program) -> list[str]:
    assert program.wait() == 0, program.describe()
    return program.stdout.splitlines()


@pytest.mark.parametrize(
    "how",
    [
        "sub",
        pytest.param(
            "own",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="all share one lock"),
        ),
    ],
)
def test_a_sub_interpreter_has_no_console_and_the_main_one_is_served(
    start: Start, how: str
) -> None:
    program = start(
        how,
        source=WAITS
        + """
import sys
print("rtconsole.listener" in sys.modules, flush=True)
try:
    from rtconsole import start_console
    start_console()
except RuntimeError as error:
    print(error, flush=True)
""",
    )
    program.wait_for_output("begins 2 ")
    with program.client() as client:
        assert client.run("x").error == "NameError"  # that is the other's
    leave(program)
    assert "\nFalse\na sub-interpreter gets no console" in program.stdout
