"""Installing: however it is done, the start-up files are there after it, and gone after uninstall.

pip builds without isolation, from one copy of the build backend fetched for all tests; the
checkout is copied first, so that a build leaves nothing in it.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Launcher

CHECKOUT = Path(__file__).parent.parent
SCRUBBED = ("PYTHON", "RTCONSOLE", "VIRTUAL_ENV")

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="paths of a venv as POSIX has them"),
    pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="no pip to install with"),
]

# Exits with 1 if the console is not there. It needs none of the dependencies.
IS_THERE = """
import glob, os, sys
sys.exit(not glob.glob(os.path.expanduser(f"~/.local/share/jupyter/runtime/*-{os.getpid()}.json")))
"""


def run(*command: str | Path, **env: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(SCRUBBED)}
    done = subprocess.run(
        command,
        env={**inherited, **env},
        cwd=os.path.abspath(os.sep),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hatchling in it, and what it asks pip for when a build is editable."""
    folder = tmp_path_factory.mktemp("backend")
    wanted = ("hatchling>=1.26", "editables")
    run(sys.executable, "-m", "pip", "install", "-q", "--target", folder, *wanted)
    return folder


@pytest.fixture(scope="module")
def sdist(backend: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = copy_of_checkout(tmp_path_factory.mktemp("sdist"))
    build = "import os, sys; os.chdir(sys.argv[1]); from hatchling import build as b; "
    build += "b.build_sdist(sys.argv[2])"
    run(sys.executable, "-c", build, checkout, checkout.parent, PYTHONPATH=str(backend))
    (path,) = checkout.parent.glob("rtconsole-*.tar.gz")
    return path


@pytest.fixture
def pip(backend: Path) -> Callable[..., str]:
    """Run pip for the interpreter ``python``, which needs no pip of its own."""

    def pip(python: Path, *arguments: str | Path, **env: str) -> str:
        command = (sys.executable, "-m", "pip", "-q", "--python", python, *arguments)
        env |= {"PYTHONPATH": str(backend), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
        return run(*command, **env)

    return pip


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """The interpreter of a fresh and empty virtual environment."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    return tmp_path / "venv" / "bin" / "python"


def copy_of_checkout(folder: Path) -> Path:
    """Copy what git has, or would have, of this checkout."""
    copy = folder / "checkout"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):  # an unpacked sdist
        leave = shutil.ignore_patterns("__pycache__", ".*", "build", "dist", "venv*")
        return Path(shutil.copytree(CHECKOUT, copy, ignore=leave))
    for name in map(os.fsdecode, filter(None, done.stdout.split(b"\0"))):
        if (CHECKOUT / name).is_file():  # not deleted meanwhile
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, copy / name)
    return copy


def site_packages(python: Path, which: str = "purelib", **env: str) -> Path:
    code = f"import sysconfig; print(sysconfig.get_path({which!r}), end='')"
    if which == "user":
        code = "import site; print(site.getusersitepackages(), end='')"
    return Path(run(python, "-c", code, **env))


def assert_installed(launch: Launcher, python: Path, folder: Path, **env: str) -> None:
    """Both files are at the root of ``folder``, and a started program has a console."""
    for name in ("rtconsole.pth", "rtconsole.start"):
        assert (folder / name).read_bytes() == (CHECKOUT / "sitehook" / name).read_bytes()
    program = launch(IS_THERE, python=[str(python)], env=dict(env))
    assert program.wait() == 0, program.describe()
    program = launch(IS_THERE, python=[str(python)], env={**env, "RTCONSOLE": None})
    assert program.wait() == 1, program.describe()
    assert (program.stdout, program.stderr) == ("", "")


def assert_uninstalled(launch: Launcher, python: Path, folder: Path, **env: str) -> None:
    """Nothing is left in ``folder``, and a started program has no console."""
    left = [p for p in folder.rglob("*") if "rtconsole" in p.name or "sitehook" in p.name]
    assert left == []
    program = launch(IS_THERE, python=[str(python)], env=dict(env))
    assert program.wait() == 1, program.describe()
    assert (program.stdout, program.stderr) == ("", "")


def test_the_pth_file_is_one_plain_line_that_looks_at_one_variable() -> None:
    text = (CHECKOUT / "sitehook" / "rtconsole.pth").read_text("ascii")
    (line,) = text.splitlines()
    assert text == line + "\n"
    assert line.startswith('import os; os.environ.get("RTCONSOLE") and ')
    assert line.count("environ") == 1


def test_the_start_file_names_the_function_that_the_pth_file_calls() -> None:
    text = (CHECKOUT / "sitehook" / "rtconsole.start").read_text("ascii")
    assert text == "sitehook:activate\n"
    assert "sitehook.activate()" in (CHECKOUT / "sitehook" / "rtconsole.pth").read_text("ascii")


def test_the_pth_line_is_silent_where_the_hook_itself_is_gone(launch: Launcher, venv: Path) -> None:
    shutil.copy(CHECKOUT / "sitehook" / "rtconsole.pth", site_packages(venv))
    program = launch(IS_THERE, python=[str(venv)])
    assert program.wait() == 1, program.describe()
    assert (program.stdout, program.stderr) == ("", "")


@pytest.mark.parametrize("how", ["from a checkout", "editable", "from the sdist"])
def test_pip_puts_the_start_up_files_in_place_and_takes_them_away(
    launch: Launcher,
    venv: Path,
    pip: Callable[..., str],
    sdist: Path,
    tmp_path: Path,
    how: str,
) -> None:
    source = sdist if how == "from the sdist" else copy_of_checkout(tmp_path)
    options = ["--editable"] if how == "editable" else []
    pip(venv, "install", "--no-deps", "--no-build-isolation", *options, source)
    folder = site_packages(venv)
    assert (folder / "sitehook").is_dir() is (how != "editable")
    assert_installed(launch, venv, folder)
    pip(venv, "uninstall", "--yes", "rtconsole")
    assert_uninstalled(launch, venv, folder)


def test_pip_installs_for_one_user_and_takes_it_away(
    launch: Launcher, pip: Callable[..., str], tmp_path: Path
) -> None:
    python = Path(getattr(sys, "_base_executable", sys.executable))
    env = {"PYTHONUSERBASE": str(tmp_path / "user")}
    is_free = (
        "import importlib.util as u, site; print(site.ENABLE_USER_SITE, u.find_spec('sitehook'))"
    )
    if run(python, "-c", is_free, **env) != "True None\n":
        pytest.skip("rtconsole is in the base interpreter, or it has no user site")
    source = copy_of_checkout(tmp_path)
    pip(python, "install", "--user", "--no-deps", "--no-build-isolation", source, **env)
    folder = site_packages(python, "user", **env)
    assert folder.is_relative_to(tmp_path)
    assert_installed(launch, python, folder, **env)
    pip(python, "uninstall", "--yes", "rtconsole", **env)
    assert_uninstalled(launch, python, folder, **env)


def test_the_sdist_holds_what_is_needed_to_build_and_to_test(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"),
        *("sitehook/rtconsole.pth", "sitehook/rtconsole.start", "sitehook/path/sitecustomize.py"),
        *("rtconsole/py.typed", "tests/harness.py", "tests/conftest.py", "examples/counter.py"),
    }
    assert expected <= names
    assert not [name for name in names if "__pycache__" in name]
