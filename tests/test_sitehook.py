"""The start-up hook: which programs get a console, and that all others never know of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Launcher, Program, wait_for

import sitehook

CHECKOUT = Path(__file__).parent.parent
HOOK_BY_PATH = CHECKOUT / "sitehook" / "path"

# Says whether this process has a console: its file is there before the program begins.
REPORT = """
import os
runtime = os.path.expanduser("~/.local/share/jupyter/runtime")
has = os.path.exists(f"{runtime}/kernel-rt-{os.getpid()}.json")
print("console" if has else "no console")
"""

# A program that has something to lose: output on both streams, and an exit code.
PLAIN = """
import sys
print("to stdout")
print("to stderr", file=sys.stderr)
sys.exit(3)
"""

# The interpreter that tells most: warnings of all kinds, on stderr.
STRICT = [sys.executable, "-X", "dev", "-X", "warn_default_encoding", "-bb"]

# A user that exists nowhere, and so has no home.
NOBODY = 61234

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become others"
)


def has_console(program: Program) -> bool:
    """Wait for a program that runs REPORT and return what it found."""
    assert program.wait() == 0, program.describe()
    return {"console\n": True, "no console\n": False}[program.stdout]


def log_of(program: Program) -> str:
    return program.log if program.debug_log.exists() else ""


def end_of(program: Program) -> tuple[int, bytes, bytes]:
    return program.wait(), program.stdout_file.read_bytes(), program.stderr_file.read_bytes()


def wrapped(preparation: str, interpreter: str = sys.executable) -> list[str]:
    """Return the start of a command line: ``preparation``, then exec of the interpreter."""
    code = f"import os, resource, sys\n{preparation}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [interpreter, "-E", "-c", code, interpreter]


def assert_same_end(
    launch: Launcher,
    env: dict[str, str | None],
    python: list[str] | None = None,
    exit_code: int = 3,
    **options: object,
) -> Program:
    """Run PLAIN with and without RTCONSOLE, compare byte for byte, return the one with."""
    without = launch(PLAIN, env={**env, "RTCONSOLE": None}, python=python, **options)
    expected = end_of(without)
    assert expected[0] == exit_code, without.describe()
    program = launch(PLAIN, env=env, python=python, **options)
    assert end_of(program) == expected, program.describe()
    return program


def named_script(launch: Launcher, name: str, source: str = REPORT) -> str:
    """Write an executable script, as pip writes console scripts, and return its path."""
    path = launch.script(f"#!{sys.executable}\n{source}", f"bin/{name}")
    path.chmod(0o755)
    return str(path)


# -- on and off ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "TRUE", "Yes", "oN", " on "])
def test_these_values_turn_it_on(launch: Launcher, value: str) -> None:
    assert has_console(launch(REPORT, env={"RTCONSOLE": value}))


@pytest.mark.parametrize("value", [None, "", "0", "false", "no", "off", "FALSE", "Off", " 0 "])
def test_these_values_turn_it_off_and_leave_no_trace(launch: Launcher, value: str | None) -> None:
    program = launch(REPORT, env={"RTCONSOLE": value})
    assert not has_console(program)
    assert not program.debug_log.exists()
    assert not (launch.home / ".local").exists()


@pytest.mark.parametrize("value", ["2", "ja", "1,2", "\udcff", "on off"])
def test_any_other_value_is_off_and_noted_in_the_debug_log(launch: Launcher, value: str) -> None:
    program = launch(REPORT, env={"RTCONSOLE": value})
    assert not has_console(program)
    (line,) = log_of(program).splitlines()
    assert f"pid {program.pid}" in line
    assert f"RTCONSOLE={value.lower()!r}" in line.encode("utf-8", "replace").decode()
    assert program.stderr == ""


@pytest.mark.parametrize("option", ["-E", "-I", "-bIs", "-S"])
def test_an_interpreter_that_ignores_the_environment_ignores_us(
    launch: Launcher, option: str
) -> None:
    program = launch(REPORT, python=[sys.executable, option], env={"RTCONSOLE": "maybe"})
    assert not has_console(program)
    program = launch(REPORT, python=[sys.executable, option])
    assert not has_console(program)
    assert not program.debug_log.exists()


@pytest.mark.parametrize("option", ["-s", "-B", "-X dev", "-Wignore", "-OO", "-u"])
def test_other_options_of_the_interpreter_do_not_matter(launch: Launcher, option: str) -> None:
    assert has_console(launch(REPORT, python=[sys.executable, *option.split()]))


@needs_root
@pytest.mark.parametrize("kind", ["resuid", "resgid"])
def test_a_process_with_other_real_than_effective_ids_gets_no_console(
    launch: Launcher, kind: str
) -> None:
    program = launch(REPORT, python=wrapped(f"os.set{kind}({NOBODY}, 0, 0)"))
    assert not has_console(program)
    assert "real and effective user or group differ" in log_of(program)


def test_activation_happens_once_however_many_hooks_there_are(launch: Launcher) -> None:
    program = launch(REPORT, env={"PYTHONPATH": str(HOOK_BY_PATH)})
    assert has_console(program)
    assert len(log_of(program).splitlines()) == 1
    assert "console at" in log_of(program)


# -- which programs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "globs", "is_named"),
    [
        ("ONLY", "report.py", True),
        ("ONLY", "report", True),
        ("ONLY", "re*.p?", True),
        ("ONLY", "*/tools/report.py", True),
        ("ONLY", "*/tools/*", True),
        ("ONLY", "other, report.py", True),
        ("ONLY", ",,report.py,", True),
        ("ONLY", "[qr]eport.py", True),
        ("ONLY", " ", True),
        ("ONLY", "other", False),
        ("ONLY", "report.pyw,eport.py,repor", False),
        ("ONLY", "Report.py", False),
        ("ONLY", "python*", False),
        ("SKIP", "report.py", False),
        ("SKIP", "other,rep*", False),
        ("SKIP", "*/tools/*", False),
        ("SKIP", "*", False),
        ("SKIP", "other", True),
        ("SKIP", "", True),
        ("SKIP", ",", True),
    ],
)
def test_a_script_is_named_by_its_name_or_path(
    launch: Launcher, variable: str, globs: str, is_named: bool
) -> None:
    script = launch.script(REPORT, "tools/report.py")
    program = launch(script, env={f"RTCONSOLE_{variable}": globs})
    assert has_console(program) is is_named
    if not is_named:
        assert f"no console for report.py: RTCONSOLE_{variable}" in log_of(program)


@pytest.mark.parametrize(
    ("variable", "globs", "is_named"),
    [
        ("ONLY", "tools.report", True),
        ("ONLY", "tools", True),
        ("ONLY", "tools.*", True),
        ("ONLY", "report", False),
        ("SKIP", "tools.report", False),
        ("SKIP", "tools", False),
        ("SKIP", "report.py", True),
    ],
)
def test_a_module_is_named_by_its_name_or_its_package(
    launch: Launcher, variable: str, globs: str, is_named: bool
) -> None:
    launch.script(REPORT, "tools/report.py")
    program = launch(
        python=[sys.executable, "-m", "tools.report"],
        cwd=launch.home,
        env={f"RTCONSOLE_{variable}": globs},
    )
    assert has_console(program) is is_named


@pytest.mark.parametrize(
    ("variable", "globs", "is_named"),
    [
        ("ONLY", "my-tool", True),
        ("ONLY", "my-*", True),
        ("ONLY", "mytool", False),
        ("SKIP", "my-tool", False),
    ],
)
def test_a_console_script_is_named_by_its_name(
    launch: Launcher, variable: str, globs: str, is_named: bool
) -> None:
    program = launch(python=[named_script(launch, "my-tool")], env={f"RTCONSOLE_{variable}": globs})
    assert has_console(program) is is_named


def test_a_command_is_named_python_c(launch: Launcher) -> None:
    command = [sys.executable, "-c", REPORT]
    assert has_console(launch(python=command))
    assert has_console(launch(python=command, env={"RTCONSOLE_ONLY": "python -c"}))
    assert not has_console(launch(python=command, env={"RTCONSOLE_SKIP": "python -c"}))
    assert not has_console(launch(python=command, env={"RTCONSOLE_ONLY": "report.py"}))


def test_what_is_skipped_stays_skipped_when_it_is_also_among_the_only_ones(
    launch: Launcher,
) -> None:
    env = {"RTCONSOLE_ONLY": "program.py", "RTCONSOLE_SKIP": "program.*"}
    assert not has_console(launch(REPORT, env=env))


@pytest.mark.parametrize(
    "name",
    ["pip", "pip3", "pip3.13", "__pip-runner__.py", "jupyter-console", "rtconsole-list"],
)
def test_a_script_of_this_name_is_skipped_by_default(launch: Launcher, name: str) -> None:
    script = named_script(launch, name)
    assert not has_console(launch(python=[script]))
    assert has_console(launch(python=[script], env={"RTCONSOLE_ONLY": name}))


@pytest.mark.parametrize(
    ("module", "option"), [("pip", "--version"), ("ensurepip", "--version"), ("venv", "--help")]
)
def test_a_module_that_only_packages_is_skipped_by_default(
    launch: Launcher, module: str, option: str
) -> None:
    program = launch(python=[sys.executable, "-m", module, option])
    program.wait()
    (line,) = log_of(program).splitlines()
    assert f"no console for {module}: skipped by default" in line


def test_the_jupyter_console_is_skipped_and_the_jupyter_server_is_not(launch: Launcher) -> None:
    jupyter = named_script(launch, "jupyter")
    for client in ("console", "qtconsole", "run"):
        assert not has_console(launch(None, client, "--existing", python=[jupyter]))
    assert has_console(launch(None, "lab", python=[jupyter]))
    assert has_console(launch(python=[jupyter]))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_of_multiprocessing_have_consoles_and_its_helpers_have_none(
    launch: Launcher, method: str
) -> None:
    program = launch(
        """
        import multiprocessing, sys
        from multiprocessing import forkserver, resource_tracker

        def child():
            multiprocessing.parent_process().join()

        if __name__ == "__main__":
            process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
            process.start()
            resource_tracker.ensure_running()
            tracker = resource_tracker._resource_tracker._pid
            print(process.pid, tracker, forkserver._forkserver._forkserver_pid, "pids", flush=True)
            process.join()
        """,
        method,
    )
    program.wait_for_output("pids")
    child, tracker, server = program.stdout.split()[:3]
    path = program.connection_file_of(int(child))
    wait_for(path.exists, "the child's console")
    assert "(" + child + ")" in path.read_text()
    wait_for(lambda: f"pid {tracker}: no console" in log_of(program), "the tracker to be skipped")
    assert not program.connection_file_of(int(tracker)).exists()
    if method == "forkserver":
        assert f"pid {server}: no console" in log_of(program)
        assert not program.connection_file_of(int(server)).exists()


# -- reading the command line --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "what", "arguments"),
    [
        ("python", "interactive", "", []),
        ("python -i", "interactive", "", []),
        ("python -", "interactive", "", []),
        ("python - one two", "interactive", "", ["one", "two"]),
        ("python -u - one", "interactive", "", ["one"]),
        ("python a.py", "script", "a.py", []),
        ("python a.py -c x", "script", "a.py", ["-c", "x"]),
        ("python -i a.py -m x", "script", "a.py", ["-m", "x"]),
        ("python -W error a.py", "script", "a.py", []),
        ("python -Werror a.py b.py", "script", "a.py", ["b.py"]),
        ("python -bW error a.py", "script", "a.py", []),
        ("python -X dev a.py", "script", "a.py", []),
        ("python -Xdev a.py", "script", "a.py", []),
        ("python -Xcm a.py", "script", "a.py", []),
        ("python -uX frozen_modules=off -W c a.py", "script", "a.py", []),
        ("python -bb -OO -vv a.py", "script", "a.py", []),
        ("python --check-hash-based-pycs always a.py", "script", "a.py", []),
        ("python --check-hash-based-pycs never -m mod x", "module", "mod", ["x"]),
        ("python --version", "interactive", "", []),
        ("python -- a.py one", "script", "a.py", ["one"]),
        ("python -- -odd.py", "script", "-odd.py", []),
        ("python -m mod", "module", "mod", []),
        ("python -mmod x", "module", "mod", ["x"]),
        ("python -bIm mod -c x", "module", "mod", ["-c", "x"]),
        ("python -bImmod", "module", "mod", []),
        ("python -W ignore -m a.b", "module", "a.b", []),
        ("python -m", "module", "", []),
        ("python -c code", "command", "code", []),
        ("python -ccode x", "command", "code", ["x"]),
        ("python -Icm x", "command", "m", ["x"]),
        ("python -B -c code -m y", "command", "code", ["-m", "y"]),
        ("python -c", "command", "", []),
        ("python -W", "interactive", "", []),
    ],
)
def test_the_interpreters_command_line_is_read_as_it_reads_it(
    line: str, kind: str, what: str, arguments: list[str]
) -> None:
    assert sitehook.program(line.split(" ")) == (kind, what, arguments)


def test_without_a_command_line_the_program_that_has_python_in_it_is_meant() -> None:
    kind, what, arguments = sitehook.program([])
    assert sitehook.label(kind, what) == os.path.basename(os.path.realpath(sys.executable))
    assert arguments == []


@pytest.mark.parametrize(
    ("kind", "what", "label"),
    [
        ("script", "/srv/app/counter.py", "counter.py"),
        ("script", "/usr/bin/gunicorn", "gunicorn"),
        ("script", "app.pyz", "app.pyz"),
        ("script", "/srv/app/", "app"),
        ("script", "/srv/app/__main__.py", "app"),
        ("module", "http.server", "http.server"),
        ("command", "print(1)", "python -c"),
        ("command", "from multiprocessing.spawn import spawn_main; ...", "multiprocessing"),
        ("interactive", "", "python"),
    ],
)
def test_a_program_has_a_name_that_a_person_recognises(kind: str, what: str, label: str) -> None:
    assert sitehook.label(kind, what) == label


# -- where nothing can be installed ----------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter without rtconsole and all that it depends on."""
    return make_venv(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def bare_with_user_site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, where usercustomize is imported; a venv by itself does without."""
    python = make_venv(tmp_path_factory.mktemp("user-site"), "--system-site-packages")
    installed = "import importlib.util as u, sys; sys.exit(u.find_spec('rtconsole') is not None)"
    if subprocess.run([python, "-P", "-E", "-s", "-c", installed], check=False).returncode:
        pytest.skip("rtconsole is installed in the base interpreter")
    return python


def make_venv(folder: Path, *options: str) -> str:
    command = [sys.executable, "-E", "-m", "venv", "--without-pip", *options, str(folder)]
    subprocess.run(command, check=True)
    return str(folder / "bin" / "python")


def users_own(launch: Launcher, source: str, name: str = "sitecustomize") -> str:
    """Write a module of the user's that the interpreter imports, and return its folder."""
    return str(launch.script(source, f"own/{name}.py").parent)


COUNTED = """
with open(__file__ + ".runs", "a") as runs:
    runs.write(__name__ + "\\n")
mine = 42
"""


def test_by_pythonpath_the_checkout_serves_an_interpreter_without_dependencies(
    launch: Launcher, bare: str
) -> None:
    program = launch(
        "import time; time.sleep(60)", python=[bare], env={"PYTHONPATH": str(HOOK_BY_PATH)}
    )
    assert program.info["rtconsole"]["executable"] == bare
    with program.client(ready=False) as client:
        # with no ipykernel there, whoever asks is told why
        banner = client.shell_reply(client.kernel.kernel_info())["banner"]
    assert "No module named" in banner
    assert program.is_running()
    assert (program.stdout, program.stderr) == ("", "")


def test_by_pythonpath_a_program_is_off_unless_the_environment_says_on(
    launch: Launcher, bare: str
) -> None:
    for value in (None, "0", "what"):
        env = {"PYTHONPATH": str(HOOK_BY_PATH), "RTCONSOLE": value}
        assert not has_console(launch(REPORT, python=[bare], env=env))


def test_by_pythonpath_the_users_sitecustomize_behind_ours_runs_once(
    launch: Launcher, bare: str
) -> None:
    own = users_own(launch, COUNTED)
    program = launch(
        REPORT + "import sitecustomize; print(sitecustomize.mine, sitecustomize.__file__)",
        python=[bare],
        env={"PYTHONPATH": f"{HOOK_BY_PATH}:{own}"},
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout == f"console\n42 {own}/sitecustomize.py\n"
    assert Path(own, "sitecustomize.py.runs").read_text() == "sitecustomize\n"


def test_by_pythonpath_the_users_sitecustomize_before_ours_runs_once(
    launch: Launcher, bare_with_user_site: str
) -> None:
    own = users_own(launch, COUNTED)
    program = launch(
        REPORT + "import sitecustomize; print(sitecustomize.mine, sitecustomize.__file__)",
        python=[bare_with_user_site],
        env={"PYTHONPATH": f"{own}:{HOOK_BY_PATH}"},
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout == f"console\n42 {own}/sitecustomize.py\n"
    assert Path(own, "sitecustomize.py.runs").read_text() == "sitecustomize\n"


@pytest.mark.parametrize("order", ["{ours}:{own}", "{own}:{ours}"])
def test_by_pythonpath_both_of_the_users_own_modules_run_once(
    launch: Launcher, bare_with_user_site: str, order: str
) -> None:
    own = users_own(launch, COUNTED)
    users_own(launch, COUNTED, "usercustomize")
    program = launch(
        """
        import sitecustomize, usercustomize
        print(sitecustomize.__file__, usercustomize.__file__)
        """,
        python=[bare_with_user_site],
        env={"PYTHONPATH": order.format(ours=HOOK_BY_PATH, own=own)},
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout == f"{own}/sitecustomize.py {own}/usercustomize.py\n"
    for name in ("sitecustomize", "usercustomize"):
        assert Path(own, f"{name}.py.runs").read_text() == f"{name}\n"


@pytest.mark.parametrize("order", ["{ours}:{own}", "{own}:{ours}"])
@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
@pytest.mark.parametrize(
    "fault",
    [
        "raise ValueError('oops')",
        "import a_module_that_is_not_there",
        "x = = 1",
    ],
)
def test_by_pythonpath_what_the_users_own_module_raises_is_reported_as_without_us(
    launch: Launcher, bare_with_user_site: str, order: str, name: str, fault: str
) -> None:
    own = users_own(launch, fault, name)
    python = [bare_with_user_site]
    without = launch(PLAIN, python=python, env={"PYTHONPATH": own, "RTCONSOLE": None})
    env = {"PYTHONPATH": order.format(ours=HOOK_BY_PATH, own=own)}
    for value in (None, "1"):
        program = launch(PLAIN, python=python, env={**env, "RTCONSOLE": value})
        assert end_of(program) == end_of(without), program.describe()


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_by_pythonpath_the_users_own_module_can_end_the_start(
    launch: Launcher, bare_with_user_site: str, name: str
) -> None:
    own = users_own(launch, "raise SystemExit('not today')", name)
    python = [bare_with_user_site]
    without = launch(PLAIN, python=python, env={"PYTHONPATH": own, "RTCONSOLE": None})
    program = launch(PLAIN, python=python, env={"PYTHONPATH": f"{HOOK_BY_PATH}:{own}"})
    assert program.wait() == without.wait() != 0
    assert program.stdout == without.stdout == ""
    # the interpreter's traceback has our frames in it, and ends the same
    assert program.stderr.splitlines()[-1] == without.stderr.splitlines()[-1]


def test_by_pythonpath_a_program_without_a_sitecustomize_finds_none(
    launch: Launcher, bare_with_user_site: str
) -> None:
    source = """
        import importlib
        for name in ("sitecustomize", "usercustomize"):
            try:
                print(importlib.import_module(name).__file__)
            except ImportError as error:
                print(error)
        """
    python = [bare_with_user_site]
    without = launch(source, python=python, env={"RTCONSOLE": None})
    program = launch(source, python=python, env={"PYTHONPATH": str(HOOK_BY_PATH)})
    assert end_of(program) == end_of(without), program.describe()


def test_by_pythonpath_nothing_is_imported_from_the_checkout_first(
    launch: Launcher, bare: str
) -> None:
    program = launch(
        "import sys; print(sys.path[-1])", python=[bare], env={"PYTHONPATH": str(HOOK_BY_PATH)}
    )
    assert program.wait() == 0
    assert program.stdout == f"{CHECKOUT}\n"


# -- the program comes first -----------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"HOME": "/proc/none"},
        {"HOME": "relative"},
        {"JUPYTER_RUNTIME_DIR": "{home}/program.py"},
        {"JUPYTER_RUNTIME_DIR": "{home}/program.py/below"},
        {"JUPYTER_RUNTIME_DIR": "nul\udcff"},
        {"XDG_RUNTIME_DIR": "/proc/none", "TMPDIR": "/proc/none"},
        {"XDG_RUNTIME_DIR": "/proc/none", "TMPDIR": "/proc/none", "HOME": "/proc/none"},
        {"RTCONSOLE_TRANSPORT": "carrier pigeon", "RTCONSOLE_EAGER": "perhaps"},
        {"RTCONSOLE_ONLY": "[", "RTCONSOLE_SKIP": "[!]"},
        {"RTCONSOLE_DEBUG": "/proc/none/debug.log"},
        {"RTCONSOLE_DEBUG": "{home}"},
        {"RTCONSOLE_DEBUG": "/dev/full"},
        {"RTCONSOLE_DEBUG": None, "HOME": "/proc/none", "TMPDIR": "/proc/none"},
    ],
    ids=lambda env: " ".join(f"{name}={value!r}" for name, value in env.items()) or "plain",
)
def test_a_program_ends_as_without_us_in_this_environment(
    launch: Launcher, env: dict[str, str | None]
) -> None:
    changes = {k: v and v.replace("{home}", str(launch.home)) for k, v in env.items()}
    assert_same_end(launch, changes, STRICT, cwd=launch.home)


def test_a_program_ends_as_without_us_when_a_sockets_name_is_taken(launch: Launcher) -> None:
    taken = """
os.umask(0o077)
os.makedirs(f"{os.environ['XDG_RUNTIME_DIR']}/rtconsole/{os.getpid()}-3")
"""
    program = assert_same_end(launch, {}, [*wrapped(taken), *STRICT[1:]])
    assert "Address already in use" in log_of(program)
    assert not [path for path in launch.sockets.rglob("*") if path.is_socket()]


def test_a_debug_log_that_nobody_reads_does_not_hold_the_program_up(launch: Launcher) -> None:
    log = launch.home / "log"
    os.mkfifo(log)
    try:
        assert_same_end(launch, {"RTCONSOLE_DEBUG": str(log)})
    finally:
        log.unlink()  # a failed test's report would wait for a writer


def test_the_debug_log_says_what_went_wrong_and_where(launch: Launcher) -> None:
    nowhere = {"XDG_RUNTIME_DIR": "/proc/none", "TMPDIR": "/proc/none"}
    program = assert_same_end(launch, nowhere)
    log = log_of(program)
    assert f"pid {program.pid}: no console\nTraceback" in log
    assert "in private_temporary_dir" in log
    assert "/proc/none" in log.splitlines()[-1]


def test_a_program_ends_as_without_us_when_descriptors_run_out(launch: Launcher) -> None:
    outcomes = set()
    for limit in (*range(5, 17), 32, 64, 256):
        limited = wrapped(f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))")
        (launch.home / "debug.log").unlink(missing_ok=True)
        program = assert_same_end(launch, {}, [*limited, *STRICT[1:]])
        outcomes.add("console at" in log_of(program))
        assert not list(launch.home.rglob("kernel-rt-*")), f"left with {limit} descriptors"
        assert not list(launch.sockets.rglob("*-?")), f"left with {limit} descriptors"
    assert outcomes == {True, False}, "the limits are not around what is needed"


def test_a_program_ends_as_without_us_when_the_disk_is_full(launch: Launcher) -> None:
    # files may be as large as what the program prints, and no larger
    full = wrapped("resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))")
    env = {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(launch.home)}
    assert_same_end(launch, env, python=full)
    assert not list(launch.home.rglob("*kernel-rt-*"))
    assert not list(launch.sockets.rglob("*-?"))


def test_a_program_ends_as_without_us_when_its_standard_streams_are_closed(
    launch: Launcher,
) -> None:
    for numbers in ("0, 1, 2", "0", "1, 2"):
        program = assert_same_end(
            launch, {}, python=wrapped(f"for fd in [{numbers}]: os.close(fd)")
        )
        assert "console at" in log_of(program)


def test_a_program_ends_as_without_us_when_its_folder_is_gone(launch: Launcher) -> None:
    gone = wrapped("os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")
    program = assert_same_end(launch, {}, python=gone, cwd=launch.home)
    assert "console at" in log_of(program)


def test_a_program_that_ends_at_once_leaves_no_thread_halfway(launch: Launcher) -> None:
    # A thread that the interpreter's end finds not yet started makes some versions crash;
    # the allocator's debug hooks show it.
    for _ in range(20):
        program = launch(python=[*STRICT, "-c", "pass"])
        assert end_of(program) == (0, b"", b""), program.describe()


@pytest.mark.parametrize(
    "fault",
    [
        "raise RuntimeError('broken')",
        "raise ImportError('broken')",
        "x = = 1",
        "__version__ = '0'",
        "raise SystemExit('broken')",
    ],
)
def test_a_program_ends_as_without_us_when_rtconsole_is_broken(
    launch: Launcher, fault: str
) -> None:
    folder = launch.script(fault, "broken/rtconsole/__init__.py").parent.parent
    program = assert_same_end(launch, {"PYTHONPATH": str(folder)})
    (line,) = log_of(program).splitlines()
    assert f"pid {program.pid}: no console" in line
    assert "rtconsole is broken" in line
    assert_same_end(launch, {"PYTHONPATH": str(folder), "RTCONSOLE_DEBUG": "/proc/none"})
    assert_same_end(launch, {"PYTHONPATH": f"{folder}:{HOOK_BY_PATH}"})


def python_for(user: int) -> str:
    """Return an interpreter that another user can run: ours may be in a private folder."""
    candidates = [sys.executable, shutil.which("python3", path=os.defpath)]
    for path in filter(None, candidates):
        enough = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            found = subprocess.run(
                [path, "-I", "-c", enough],
                cwd="/",
                user=user,
                group=user,
                extra_groups=[],
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            continue
        if found.returncode == 0:
            return path
    pytest.skip("no interpreter that another user can run")


def checkout_for(user: int, launch: Launcher) -> str:
    """Give the test's folder to another user, with what the hook needs in it."""
    for name in ("sitehook", "rtconsole"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, launch.home / "checkout" / name, ignore=ignored)
    launch.script(PLAIN)
    for path in (launch.home, *launch.home.rglob("*")):
        os.chown(path, user, user)
    return str(launch.home / "checkout" / "sitehook" / "path")


@needs_root
def test_a_program_ends_as_without_us_when_there_is_no_thread_to_be_had(launch: Launcher) -> None:
    python = wrapped(
        f"os.setgroups([]); os.setresgid(*3 * [{NOBODY}]); os.setresuid(*3 * [{NOBODY}])\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))",
        python_for(NOBODY),
    )
    env = {"PYTHONPATH": checkout_for(NOBODY, launch)}
    program = assert_same_end(launch, env, python=python)
    assert "can't start new thread" in log_of(program)
    assert not list(launch.home.rglob("kernel-rt-*"))
    assert not list(launch.sockets.rglob("*-?"))


@needs_root
def test_a_program_ends_as_without_us_when_its_user_has_no_home(launch: Launcher) -> None:
    python = [python_for(NOBODY)]
    env = {
        "PYTHONPATH": checkout_for(NOBODY, launch),
        "HOME": None,
        "TMPDIR": str(launch.home),
    }
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    program = assert_same_end(launch, env, python=python, **user)
    fallback = launch.home / f"rtconsole-{NOBODY}"
    assert f"console at {fallback}/kernel-rt-{program.pid}.json" in log_of(program)
