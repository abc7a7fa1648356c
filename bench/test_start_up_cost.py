"""What a start of the interpreter costs with the hook installed: off, and dormant.

Whole processes are counted in instructions where valgrind is installed, which says the
same on every machine to a thousandth; elsewhere in seconds, by many starts in turn. In a
fresh virtual environment, with compiled files, as a user has it after `pip install`.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from programs import BARE, Usual
from report import Report, Row

CHECKOUT = Path(__file__).parent.parent
VALGRIND = shutil.which("valgrind")
HOOK = ("rtconsole.pth", "rtconsole.start")
UNIT = "M instructions" if VALGRIND else "ms"
ROUNDS = 3 if VALGRIND else 25
ON = {"RTCONSOLE": "1"}


class Start(NamedTuple):
    """A kind of start: the start-up files that site-packages has, and the environment."""

    files: tuple[str, ...]
    env: dict[str, str]


class FreshVenv:
    """A virtual environment with nothing in it but this project, without its dependencies."""

    def __init__(self, folder: Path) -> None:
        # the user's own environment: where pip finds its index and its cache
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RTCONSOLE"))}
        self.python = folder / "bin" / "python"
        install = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", CHECKOUT]
        for command in ([sys.executable, "-m", "venv", folder], install):
            subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL)
        (self.site_packages,) = folder.glob("lib/python3*/site-packages")
        self._aside = folder / "aside"
        self._aside.mkdir()
        (self._aside / "empty.pth").write_text("# nothing\n")

    @contextmanager
    def only(self, files: tuple[str, ...]) -> Iterator[None]:
        """Have these of the known start-up files in site-packages, and no others."""
        moved = []
        for path in [*self.site_packages.glob("*.pth"), *self.site_packages.glob("*.start")]:
            path.rename(self._aside / path.name)
        for name in files:
            if (self._aside / name).exists():
                moved.append((self._aside / name).rename(self.site_packages / name))
        try:
            yield
        finally:
            for path in moved:
                path.rename(self._aside / path.name)


def instructions(argv: list[str], env: dict[str, str]) -> float:
    """Run a program to its end; return how many million instructions it took."""
    assert VALGRIND
    counter = [VALGRIND, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    ran = subprocess.run([*counter, *argv], env=env, check=True, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", ran.stderr)
    assert found, ran.stderr
    return int(found[1]) / 1e6


def milliseconds(argv: list[str], env: dict[str, str]) -> float:
    """Run a program to its end; return how many milliseconds it took."""
    started = time.perf_counter()
    subprocess.run(argv, env=env, check=True, capture_output=True)
    return (time.perf_counter() - started) * 1000


@pytest.fixture
def cost(launch: Usual) -> Callable[..., float]:
    """Measure one process, seeded so that its dicts and sets are the same each time."""
    measure = instructions if VALGRIND else milliseconds

    def cost(python: str | Path, code: str, env: dict[str, str], seed: int = 1) -> float:
        seeded = launch.environment(**{**BARE, **env, "PYTHONHASHSEED": str(seed)})
        return measure([str(python), "-c", code], seeded)

    return cost


def test_what_a_start_costs(launch: Usual, cost: Callable[..., float], report: Report) -> None:
    venv = FreshVenv(launch.home / "venv")
    session = {**ON, "XDG_RUNTIME_DIR": str(launch.sockets)}
    starts = {
        "bare": Start((), {}),
        "empty": Start(("empty.pth",), {}),
        "off": Start(HOOK, {}),
        "dormant": Start(HOOK, ON),
        "session": Start(HOOK, session),
    }
    costs: dict[str, list[float]] = {name: [] for name in starts}
    for start in starts.values():  # make what folders a first start makes
        with venv.only(start.files):
            milliseconds([str(venv.python), "-c", "pass"], launch.environment(**start.env))
    for seed in range(ROUNDS):
        for name, start in starts.items():
            with venv.only(start.files):
                costs[name].append(cost(venv.python, "pass", start.env, seed))
    median = {name: statistics.median(found) for name, found in costs.items()}
    bare, empty = median["bare"], median["empty"]

    add, than = report.add, "bare start"
    add(Row("start, an empty .pth file", empty, UNIT, than, bare))
    add(Row("start, off", median["off"], UNIT, than, bare, 1.015))
    add(Row("start, off", median["off"], UNIT, "with an empty .pth", empty, 1.015))
    add(Row("start, dormant", median["dormant"], UNIT, than, bare, 1.15))
    add(Row("start, dormant", median["dormant"], UNIT, "with an empty .pth", empty, 1.15))
    add(Row("start, dormant, XDG_RUNTIME_DIR set", median["session"], UNIT, than, bare, 1.15))

    importing = "import ipykernel.ipkernel"
    milliseconds([sys.executable, "-c", importing], launch.environment(**BARE))  # compiles
    ipykernel = cost(sys.executable, importing, {}) - cost(sys.executable, "pass", {})
    extra = median["dormant"] - bare
    add(Row("start, extra when dormant", extra, UNIT, "importing ipykernel", ipykernel, 0.02))
