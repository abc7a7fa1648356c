"""CPython's own tests, three ways: without a console, with a dormant one, and with visits.

    python tests/torture.py [-j N] [MODULE...]

Runs parts of the ``test`` package that comes with this interpreter. A visit attaches to
the process that runs the tests and runs a cell in it, every 200 ms. Prints what differs,
test by test; what differs and cannot be helped is in docs/known-differences.md. A test that
differs is run again, alone, three times each way, before it counts. Exit code 1 if
something differs that is not known.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rtconsole import client, connection
from rtconsole.errors import RtconsoleError

MODULES = """
    test_io test_print test_threading test_thread test_signal test_subprocess test_fork1
    test_asyncio test_multiprocessing_fork test_multiprocessing_forkserver
    test_multiprocessing_spawn test_multiprocessing_main_handling test_concurrent_futures
    test_gc test_sys test_site test_warnings test_logging test_builtin test_atexit
    test_faulthandler
""".split()  # noqa: SIM905
FAST = "test_print test_fork1 test_atexit test_thread test_builtin".split()  # noqa: SIM905

WAYS = ("without", "dormant", "visited")
KNOWN = Path(__file__).parent.parent / "docs" / "known-differences.md"

EVERY = 0.2  # seconds between two visits
LONGEST = 1200  # seconds for a module

# A line of unittest's verbose output; what the test prints may stand before its outcome.
_BEGUN = re.compile(r"^(\w+) \(([\w.]+)\)")
_OUTCOME = re.compile(r"(?:\.\.\. |^)(ok|FAIL|ERROR|skipped|expected failure|unexpected success)")


@contextmanager
def visits(runtime: Path) -> Iterator[list[int]]:
    """Visit every process whose connection file appears in ``runtime``; counts the cells."""
    over, served = threading.Event(), [0]

    def visit(path: Path) -> None:
        try:
            info = connection.read(str(path)).info
            client.execute(info, "len(dir())", lambda kind, content: None, 20.0)
            served[0] += 1
        except (RtconsoleError, OSError, ValueError, LookupError):
            pass  # it ended meanwhile

    def go() -> None:
        while not over.wait(EVERY):
            for path in list(runtime.glob("kernel-rt-*.json"))[:4]:
                visit(path)

    visitor = threading.Thread(target=go)
    visitor.start()
    try:
        yield served
    finally:
        over.set()
        visitor.join()


def outcomes(module: str, way: str, only: str = "") -> dict[str, str]:
    """Run a module's tests and return what came of each, by its name.

    Args:
        only: of these tests only, a pattern as for ``-m``.
    """
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RTCONSOLE", "JUPYTER"))
    }
    env.update(HOME=str(home), RTCONSOLE="0" if way == "without" else "1")
    argv = [sys.executable, "-m", "test", "-v", "--timeout", "600", module]
    argv += ["-m", only] if only else []
    runtime = home / ".local/share/jupyter/runtime"
    try:
        with open(home / "output", "w+b") as output:
            command = {"stdout": output, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
            process = subprocess.Popen(argv, cwd=home, env=env, **command)  # type: ignore[call-overload]
            try:
                if way == "visited":
                    with visits(runtime) as served:
                        process.wait(LONGEST)
                    note(f"{module}: {served[0]} cells")
                else:
                    process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.seek(0)
            found = parsed(output.read().decode(errors="replace"))
        found["(the whole)"] = f"exit {process.returncode}"
        return found
    finally:
        shutil.rmtree(home, ignore_errors=True)


def parsed(text: str) -> dict[str, str]:
    """Return the outcome of each test in unittest's verbose output."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if begun := _BEGUN.match(line):
            name = f"{begun[2]}" if begun[2].endswith(begun[1]) else f"{begun[2]}.{begun[1]}"
            found.setdefault(name, "no end")
        if name and found.get(name) == "no end" and (outcome := _OUTCOME.search(line)):
            found[name] = outcome[1]
    return found


def differing(module: str) -> list[tuple[str, str, str, str]]:
    """Return (test, way, outcome, outcome without) of what differs, seen more than once."""
    plain = outcomes(module, "without")
    found = []
    for way in WAYS[1:]:
        begun = time.monotonic()
        ours = outcomes(module, way)
        note(f"{module}, {way}: {len(ours) - 1} tests, {time.monotonic() - begun:.0f} s")
        for test in sorted(plain.keys() | ours.keys()):
            pair = ours.get(test, "not run"), plain.get(test, "not run")
            if pair[0] != pair[1] and (test == "(the whole)" or is_confirmed(module, way, test)):
                found.append((test, way, *pair))
    return found


def is_confirmed(module: str, way: str, test: str) -> bool:
    """Tell whether a test, run alone, never has the outcome that it has without a console."""
    pattern = "*" + ".".join(test.split(".")[-2:])
    plain = {outcomes(module, "without", pattern).get(test) for _ in range(3)}
    return not any(outcomes(module, way, pattern).get(test) in plain for _ in range(3))


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPython's own tests, three ways.")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--fast", action="store_true", help=f"only {', '.join(FAST)}")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    chosen = parser.parse_args()
    modules = FAST if chosen.fast else chosen.modules
    known = KNOWN.read_text()
    with ThreadPoolExecutor(chosen.jobs) as pool:
        results = dict(zip(modules, pool.map(differing, modules), strict=True))
    unknown = 0
    for module, found in results.items():
        tests = [row for row in found if row[0] != "(the whole)"]
        for test, way, ours, plain in tests or found:
            is_known = f"`{test.split('.')[-1]}`" in known
            unknown += not is_known
            mark = "known" if is_known else "NEW"
            print(f"{mark:6} {module:32} {way:8} {ours:12} without: {plain:12} {test}")
    print(f"{len(modules)} modules, Python {sys.version.split()[0]}: {unknown} new differences")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
