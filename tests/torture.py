"""CPython's own tests, three ways: without a console, with a dormant one, and with visits.

    python tests/torture.py [-j N] [--fast] [--results FILE] [--keep FOLDER] [MODULE...]

Runs parts of the ``test`` package that comes with this interpreter. A visit attaches to a
process, runs a cell in it and leaves: the process that runs the tests is visited before the
first test begins and every 200 ms from then on, and so are the processes that it starts.

Prints what differs, test by test. What differs is run again, those tests only, three times in
each of the three ways, before it counts: a difference is an outcome that those tests then have
now and again with a console, and never without. A process that a signal ended, libzmq or a fatal
error of Python's counts also if that never comes again (tests/aborts.py). What cannot be helped is
in docs/known-differences.md. Exit code 1 if something differs that is not there, if the tests'
process was never visited, or if this interpreter came without the module's tests.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import aborts

from rtconsole import client, connection
from rtconsole.errors import Gone, RtconsoleError

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
ANSWER = 20.0  # seconds for one
LONGEST = 400  # seconds for a module
FATAL = 3  # tests that end the process, or do not end, before a module is given up
ROUNDS = 3  # of what differed

# The tests begin once the file is there: after the first visit, if there is to be one. SIGINT
# is ignored in what a shell runs in the background; some tests wait for it for ever.
STARTER = """
import os, runpy, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
while not os.path.exists({go!r}):
    time.sleep(0.01)
runpy.run_module("test", run_name="__main__", alter_sys=True)
"""

# Run in turn. Each prints the pid first, so that we know where it ran.
CELLS = (
    "import os; print(os.getpid()); len(dir())",
    "import os; print(os.getpid()); [n * n for n in range(1000)]",
    "import os; print(os.getpid())\n%threads",
    "import os; print(os.getpid()); 1 / 0",
)

# A line of unittest's verbose output; what the test prints may stand before its outcome.
_BEGUN = re.compile(r"^(\w+) \(([\w.]+)\)")
_OUTCOME = re.compile(
    r"(?:\.\.\. |^)(?:[\d.]+s )?(ok|FAIL|ERROR|skipped|expected failure|unexpected success)"
)
# Tests within a test: in a script that it runs (test_atexit), whose outcome is its own.
_WITHIN = re.compile(r"^\w+ \(__main__\.")
# What the test runner says of a module that leaves something behind.
_REMARK = re.compile(r"^Warning -- (.*)$|(altered the execution environment)", re.MULTILINE)

NO_END = "no end"  # it hung, or the process crashed
WHOLE, REMARKS = "(the whole)", "(what the runner remarks)"


class Visits:
    """Visits to a process and to those that it starts, until told to stop."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.main = runtime
        self.cells = 0  # that ran in the process
        self.elsewhere = 0  # and in those that it started
        self.unanswered: list[str] = []
        self.first = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, pid: int) -> None:
        self.main = self.runtime / f"kernel-rt-{pid}.json"
        self._threads = [threading.Thread(target=go) for go in (self._here, self._there)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _here(self) -> None:
        while not self._over.wait(EVERY):
            if self.main.exists() and self._visit(self.main, self.cells):
                self.cells += 1
                self.first.set()

    def _there(self) -> None:
        while not self._over.wait(EVERY):
            for path in sorted(self.runtime.glob("kernel-rt-*.json"))[:4]:
                if path != self.main and not self._over.is_set():
                    self.elsewhere += self._visit(path, self.elsewhere)

    def _visit(self, path: Path, number: int) -> bool:
        """Run a cell; tell whether it ran where it should."""
        printed = []

        def hear(kind: str, content: dict[str, Any]) -> None:
            if kind == "stream":
                printed.append(content["text"])

        try:
            info = connection.read(str(path)).info
            client.execute(info, CELLS[number % len(CELLS)], hear, ANSWER)
        except (Gone, OSError, ValueError, LookupError):  # it ended meanwhile
            return False
        except RtconsoleError as error:
            if path.exists():
                self.unanswered.append(f"{path.stem}: {error}")
            return False
        return "".join(printed).startswith(str(client.pid_of(info)))


class Run(NamedTuple):
    """What came of a module's tests, once."""

    outcomes: dict[str, str]  # by the test's name
    cells: int
    elsewhere: int
    unanswered: list[str]
    seconds: float
    output: str
    aborts: Counter[str]  # what ended processes


def run(
    module: str,
    way: str,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    folder: Path | None = None,
) -> Run:
    """Run a module's tests in one of the three ways; again after one that ends the process.

    Args:
        only: of these tests only, patterns as for ``-m``.
        without: these, as for ``-i``.
        folder: of the module, if that is not one of CPython's.
    """
    done = _run_once(module, way, only, without, folder)
    for _ in range(FATAL):
        fatal = [test for test, outcome in done.outcomes.items() if outcome == NO_END]
        if not fatal or done.outcomes[WHOLE] == "exit 0":
            break
        others = (*without, *(pattern(test) for test in fatal))
        rest = _run_once(module, way, only, others, folder)
        done = rest._replace(
            outcomes={**rest.outcomes, **dict.fromkeys(fatal, NO_END)},
            cells=done.cells + rest.cells,
            elsewhere=done.elsewhere + rest.elsewhere,
            unanswered=done.unanswered + rest.unanswered,
            seconds=done.seconds + rest.seconds,
            output=done.output + rest.output,
            aborts=done.aborts + rest.aborts,
        )
        without = others
    return done


def pattern(test: str) -> str:
    """Return what ``-m`` and ``-i`` know a test by."""
    return "*." + ".".join(test.split(".")[-2:])


def _run_once(
    module: str,
    way: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    folder: Path | None,
) -> Run:
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    (home / "run").mkdir(mode=0o700)
    dropped = ("PYTHON", "RTCONSOLE", "JUPYTER", "XDG_", "PYTEST", "COV_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    env.update(HOME=str(home), XDG_RUNTIME_DIR=str(home / "run"))
    env["RTCONSOLE"] = "0" if way == "without" else "1"
    starter = STARTER.format(go=str(home / "go"))
    argv = [sys.executable, "-c", starter, "-v", "--timeout", str(LONGEST), module]
    argv += ["--testdir", str(folder)] if folder is not None else []
    argv += [word for some in only for word in ("-m", some)]
    argv += [word for some in without for word in ("-i", some)]
    begun = time.monotonic()
    visits = Visits(home / ".local/share/jupyter/runtime")
    try:
        with (home / "output").open("w+b") as output:
            process = subprocess.Popen(
                argv,
                cwd=home,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if way == "visited":
                    visits.start(process.pid)
                    visits.first.wait(60)
                (home / "go").touch()
                process.wait(LONGEST + 10)
            except subprocess.TimeoutExpired:
                pass  # told of by the exit code
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)  # also what the tests left
                except ProcessLookupError:
                    pass
                process.wait()
                visits.stop()
            output.seek(0)
            text = output.read().decode(errors="replace")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    found = parsed(text)
    found[WHOLE] = f"exit {process.returncode}"
    taken = time.monotonic() - begun
    ended = aborts.found(text, process.returncode)
    return Run(found, visits.cells, visits.elsewhere, visits.unanswered, taken, text, ended)


def parsed(text: str) -> dict[str, str]:
    """Return the outcome of each test in unittest's verbose output."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if _WITHIN.match(line):
            continue
        if begun := _BEGUN.match(line):
            name = f"{begun[2]}" if begun[2].endswith(begun[1]) else f"{begun[2]}.{begun[1]}"
            found.setdefault(name, NO_END)
        if name and found.get(name) == NO_END and (outcome := _OUTCOME.search(line)):
            found[name] = outcome[1]
    found[REMARKS] = "some" if _REMARK.search(text) else "none"
    return found


def _is_killed(end: str) -> bool:
    """Tell whether a process hung and was killed: that counts though it happens but once."""
    return end == f"exit {-signal.SIGKILL}"


class Difference(NamedTuple):
    """A test that ends now and again as it never does without a console."""

    module: str
    test: str
    way: str
    ours: str
    plain: str


class Torture:
    """Modules run three ways, and what is kept of it.

    Args:
        results: a file that gets a line of JSON for each run.
        keep: a folder for what the tests print.
        at_once: run a module in all three ways at the same time: of short ones, that wait.
        folder: of modules that are not CPython's.
    """

    def __init__(
        self,
        results: Path | None = None,
        keep: Path | None = None,
        at_once: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.results = results
        self.keep = keep
        self.at_once = at_once
        self.folder = folder
        self._lock = threading.Lock()

    def run(
        self, module: str, way: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()
    ) -> Run:
        done = run(module, way, only, without, self.folder)
        with self._lock:
            count = len(done.outcomes) - 2
            text = f"{module}, {way}: {count} tests, {done.seconds:.0f} s"
            if way == "visited":
                text += f", {done.cells} cells in it and {done.elsewhere} in its children"
                text += f", {len(done.unanswered)} visits not answered"
            note(", ended by ".join([text, *done.aborts]))
            if self.keep is not None:
                self.keep.mkdir(parents=True, exist_ok=True)
                number = len(list(self.keep.glob(f"{module}-{way}-*")))
                (self.keep / f"{module}-{way}-{number}").write_text(done.output)
            if self.results is not None:
                kept = {"module": module, "way": way, "only": only, **done._asdict()}
                del kept["output"]
                with self.results.open("a") as file:
                    file.write(json.dumps(kept) + "\n")
        return done

    def differing(self, module: str) -> tuple[list[Difference], bool]:
        """Return what differs for certain, and whether the tests' process was visited."""
        if self.at_once:
            with ThreadPoolExecutor(len(WAYS)) as pool:
                runs = pool.map(lambda way: self.run(module, way), WAYS)
                first = dict(zip(WAYS, runs, strict=True))
            endless: tuple[str, ...] = ()
        else:
            first = {"without": self.run(module, "without")}
            ends = first["without"].outcomes.items()
            endless = tuple(pattern(test) for test, end in ends if end == NO_END)
            first |= {way: self.run(module, way, without=endless) for way in WAYS[1:]}
        suspects = {
            (test, way)
            for way in WAYS[1:]
            for test in first["without"].outcomes.keys() | first[way].outcomes.keys()
            if self._pair(first, way, test)[0] != self._pair(first, way, test)[1]
            and pattern(test) not in endless
        }
        if not first["without"].outcomes.keys() - {WHOLE, REMARKS}:
            return [Difference(module, WHOLE, "without", "no tests", "some")], False
        visited = first["visited"].cells > 0
        tests = sorted({test for test, _ in suspects if not test.startswith("(")})
        again: list[dict[str, Run]] = []
        if tests:
            only = tuple(pattern(test) for test in tests)
            again = [{way: self.run(module, way, only) for way in WAYS} for _ in range(ROUNDS)]
        elif suspects:  # no single test's: crashed, or left something
            again = [{way: self.run(module, way) for way in WAYS}]
        found = []
        for test, way in sorted(suspects):
            if tests and test.startswith("("):
                continue  # follows from the tests'
            plain = {self._pair(runs, way, test)[1] for runs in again}
            ours = {self._pair(runs, way, test)[0] for runs in again}
            pair = self._pair(first, way, test)
            if ours <= plain and (test != WHOLE or not _is_killed(pair[0])):
                note(f"  flaky: {test}, {way}: {pair}, again {sorted(ours)}, {sorted(plain)}")
            else:
                found.append(Difference(module, test, way, "/".join(sorted(ours)), pair[1]))
        return found + self._aborts(module, [first, *again]), visited

    @staticmethod
    def _aborts(module: str, runs: list[dict[str, Run]]) -> list[Difference]:
        """Return what ended processes in one of the runs, and bare Python's in none."""
        ends = {way: [of_all[way].aborts for of_all in runs] for way in WAYS}
        count = len(runs)
        return [
            Difference(module, f"({kind})", way, f"{ours} of {count}", f"{plain} of {count}")
            for way in WAYS[1:]
            for kind, (ours, plain) in aborts.beyond(ends[way], ends["without"]).items()
        ]

    @staticmethod
    def _pair(runs: dict[str, Run], way: str, test: str) -> tuple[str, str]:
        ours, plain = runs[way].outcomes, runs["without"].outcomes
        return ours.get(test, "not run"), plain.get(test, "not run")


def name_of(test: str) -> str:
    """Return what docs/known-differences.md calls a test, or what ended a process."""
    return test if test.startswith("(") else test.rpartition(".")[2]


def known() -> set[tuple[str, str]]:
    """Return (test's name, way) of what docs/known-differences.md explains, from its table."""
    found = set()
    for line in KNOWN.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4:
            found |= {
                (test, way)
                for test in re.findall(r"`([^`]+)`", cells[1])
                for way in WAYS
                if way in cells[2]
            }
    return found


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPython's own tests, three ways.")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--fast", action="store_true", help=f"only {', '.join(FAST)}")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, help="a file that gets a line of JSON for each run")
    parser.add_argument("--keep", type=Path, help="a folder for what the tests print")
    chosen = parser.parse_args()
    modules = FAST if chosen.fast else chosen.modules
    torture, explained = Torture(chosen.results, chosen.keep), known()
    with ThreadPoolExecutor(chosen.jobs) as pool:
        results = dict(zip(modules, pool.map(torture.differing, modules), strict=True))
    wrong = 0
    for module, (found, visited) in results.items():
        for row in found:
            is_known = (name_of(row.test), row.way) in explained
            wrong += not is_known
            mark = "known" if is_known else "NEW"
            print(f"{mark:6} {module:34} {row.way:8} {row.ours:10} not {row.plain:10} {row.test}")
        if not visited:
            wrong += 1
            print(f"NEVER VISITED: {module}")
    print(f"{len(modules)} modules, Python {sys.version.split()[0]}: {wrong} new differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
