"""Which requests real servers lose when they reload, with a console in each process and without.

    python tests/servers/losses.py [--rounds N] [--threads N] [SERVER...]

Does to each server, under a load, what its tests do (HUP, TTIN, TTOU, the end of a worker, an
edited file, recycling), N times without rtconsole and N times with a client attached to each
process that has run a cell there, by turns. Prints how many requests failed, in which ways, and
until when: docs/known-differences.md has the table.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from harness import Launcher, wait_for  # noqa: E402
from load import Load  # noqa: E402
from serving import APPLICATION, Server, children, free_port, is_alive, tool  # noqa: E402
from test_reloaders import DJANGO, FLASK  # noqa: E402
from test_standard_library import PREFORKING  # noqa: E402
from test_uwsgi import WITH_CONSOLE  # noqa: E402


class Outcome(NamedTuple):
    """What an operation under load came to; times in seconds since its begin."""

    served: int
    lost: Counter[str]
    first_lost: float
    last_lost: float
    fresh: float  # when a fresh process first answered, if there is one
    done: float


Step = tuple[str, Callable[[Server], object], int]


def by_signal(number: int) -> Callable[[Server], object]:
    return lambda server: server.program.signal(number)


def end_one(number: int) -> Callable[[Server], object]:
    return lambda server: os.kill(min(children(server.pid)), number)


def end_all(number: int) -> Callable[[Server], object]:
    return lambda server: [os.kill(pid, number) for pid in children(server.pid)]


def edit(name: str) -> Callable[[Server], object]:
    def change(server: Server) -> None:
        path = server.launch.home / name
        path.write_text(path.read_text() + "# edited\n")

    return change


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
SIGNALS: list[Step] = [
    ("HUP", by_signal(signal.SIGHUP), 2),
    ("TTIN", by_signal(signal.SIGTTIN), 3),
    ("TTOU", by_signal(signal.SIGTTOU), 2),
    ("a worker gets TERM", end_one(TERM), 2),
    ("a worker gets KILL", end_one(KILL), 2),
]
RECYCLED: list[Step] = [("recycling", lambda server: None, 2)]


class Case(NamedTuple):
    words: Callable[[Launcher, str], list[str]]  # given the port
    steps: list[Step]
    workers: int = 2


def gunicorn(kind: str, module: str, *more: str) -> Callable[[Launcher, str], list[str]]:
    return lambda launch, port: [
        *(*tool("gunicorn"), f"application:{module}", "-k", kind, "-b", f"127.0.0.1:{port}"),
        *("-w", "2", *more),
    ]


def uvicorn(*more: str) -> Callable[[Launcher, str], list[str]]:
    return lambda launch, port: [
        *(*tool("uvicorn"), "application:asgi", "--port", port, "--no-access-log", *more)
    ]


def uwsgi(*more: str) -> Callable[[Launcher, str], list[str]]:
    def words(launch: Launcher, port: str) -> list[str]:
        launch.script(WITH_CONSOLE, "uwsgi_application.py")
        return [
            *(*tool("uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master", "-p", "2"),
            *("--module", "uwsgi_application:wsgi", "--die-on-term", "--disable-logging"),
            *("--enable-threads", "--single-interpreter", "--venv", sys.prefix, *more),
        ]

    return words


def flask(launch: Launcher, port: str) -> list[str]:
    name = launch.script(FLASK, "site_flask.py").stem
    return [*tool("flask"), "--app", name, "run", "--debug", "-p", port]


def django(launch: Launcher, port: str) -> list[str]:
    return [sys.executable, str(launch.script(DJANGO, "site_django.py")), "runserver", port]


def preforking(launch: Launcher, port: str) -> list[str]:
    return [sys.executable, str(launch.script(PREFORKING, "preforking.py")), port]


UVICORN_WORKER = "uvicorn_worker.UvicornWorker"
CASES = {
    "gunicorn sync": Case(gunicorn("sync", "wsgi"), SIGNALS),
    "gunicorn gthread": Case(gunicorn("gthread", "wsgi", "--threads", "2"), SIGNALS),
    "gunicorn gevent": Case(gunicorn("gevent", "wsgi"), SIGNALS),
    "gunicorn uvicorn": Case(gunicorn(UVICORN_WORKER, "asgi"), SIGNALS),
    "uvicorn --workers": Case(uvicorn("--workers", "2"), SIGNALS),
    "uvicorn --reload": Case(uvicorn("--reload"), [("edit", edit("application.py"), 1)], 1),
    "uWSGI": Case(
        uwsgi(),
        [
            ("HUP", by_signal(signal.SIGHUP), 2),
            ("a worker gets INT", end_one(INT), 2),
            ("a worker gets KILL", end_one(KILL), 2),
        ],
    ),
    "Flask": Case(flask, [("edit", edit("site_flask.py"), 1)], 1),
    "Django": Case(django, [("edit", edit("site_django.py"), 1)], 1),
    "preforking": Case(preforking, [("workers get TERM", end_all(TERM), 2)]),
    "gunicorn sync, recycled": Case(gunicorn("sync", "wsgi", "--max-requests", "200"), RECYCLED),
    "gunicorn gthread, recycled": Case(
        gunicorn("gthread", "wsgi", "--threads", "2", "--max-requests", "200"), RECYCLED
    ),
    "gunicorn gevent, recycled": Case(
        gunicorn("gevent", "wsgi", "--max-requests", "200"), RECYCLED
    ),
    "gunicorn uvicorn, recycled": Case(
        gunicorn(UVICORN_WORKER, "asgi", "--max-requests", "200"), RECYCLED
    ),
    "uvicorn --workers, recycled": Case(
        uvicorn("--workers", "2", "--limit-max-requests", "200"), RECYCLED
    ),
    "uWSGI, recycled": Case(uwsgi("--max-requests", "200", "--min-worker-lifetime", "1"), RECYCLED),
}


def attach(server: Server, stack: ExitStack, pids: set[int]) -> None:
    for client in server.connect(stack, pids).values():
        assert client.run("import os; os.getpid()").status == "ok"


def measure(server: Server, load: Load, step: Step, workers: set[int]) -> Outcome:
    """Do it, under load, and look on until its processes have come and gone."""
    name, do, number = step
    before, begun, served, fresh_at = server.all_pids(), time.monotonic(), load.served, 0.0
    do(server)
    if step in RECYCLED:
        wait_for(lambda: not any(map(is_alive, workers)), "the workers' end")
    elif name == "TTOU":
        server.wait_for_workers(number)
    else:
        fresh = wait_for(lambda: children(server.pid) - before, "a fresh worker")
        load.wait_for_answer({f"plain {pid}" for pid in fresh})
        fresh_at = time.monotonic() - begun
    gone = workers if name in ("HUP", "edit", "workers get TERM") else set()
    server.wait_for_workers(number, other_than=gone)
    load.answers(100)
    done = time.monotonic() - begun
    time.sleep(0.3)  # for what fails late
    failures, load.failures = load.failures, []
    lost = Counter(failure.kind for failure in failures)
    times = [failure.ended - begun for failure in failures] or [0.0]
    return Outcome(load.served - served, lost, min(times), max(times), fresh_at, done)


def run(case: Case, watched: bool, threads: int) -> Iterator[tuple[str, Outcome]]:
    """Start a server, do all that is to be done to it, and end it."""
    home = Path(tempfile.mkdtemp(prefix="rt-"))
    launch = Launcher(home)
    launch.script(APPLICATION, "application.py")
    port = free_port()
    words = case.words(launch, str(port))
    server = Server(launch, words, watched=watched, start_new_session=True)
    load = Load(port, threads=threads)
    try:
        server.wait_until_serving(port)
        with ExitStack() as stack:
            workers = server.wait_for_workers(case.workers)
            if "uwsgi" not in words[0]:  # whose master has no kernel
                attach(server, stack, {server.pid})
            attach(server, stack, workers)
            stack.enter_context(load)
            if case.steps is not RECYCLED:
                load.answers(50)
                time.sleep(1.1)  # some reloaders compare times in whole seconds
            for step in case.steps:
                yield step[0], measure(server, load, step, workers)
                known, workers = workers, children(server.pid)
                if case.steps is not RECYCLED:
                    attach(server, stack, workers - known)
            load.failures = []
        server.program.signal(TERM)
        server.program.wait(60)  # gunicorn waits 30 s for a worker that met its end in its start
    finally:
        for pid in server.known | server.all_pids():
            if is_alive(pid):
                os.kill(pid, KILL)
        server.program.stop()
        shutil.rmtree(home, ignore_errors=True)


def tell(name: str, step: str, watched: bool, outcomes: list[Outcome]) -> None:
    lost: Counter[str] = sum((o.lost for o in outcomes), Counter())
    losing = [outcome for outcome in outcomes if outcome.lost]
    kinds = ", ".join(f"{kind} {count}" for kind, count in lost.items()) or "none"
    print(
        f"{name}, {step}, {'attached' if watched else 'without '}: of"
        f" {sum(o.served for o in outcomes) + lost.total()} requests lost {lost.total()} ({kinds})"
        f" in {len(losing)} of {len(outcomes)} runs,"
        f" from {min((o.first_lost for o in losing), default=0.0):.2f} s"
        f" to {max((o.last_lost for o in losing), default=0.0):.2f} s, at most"
        f" {max((o.last_lost - o.fresh for o in losing if o.fresh), default=0.0):+.2f} s after"
        f" a fresh answer; {sum(o.done for o in outcomes) / len(outcomes):.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2, help="how many ask at a time")
    parser.add_argument("servers", nargs="*", default=list(CASES))
    chosen = parser.parse_args()
    for name in chosen.servers:
        found: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
        for number in range(2 * chosen.rounds):
            watched = bool(number % 2)
            try:
                for step, outcome in run(CASES[name], watched, chosen.threads):
                    found[step, watched].append(outcome)
            except AssertionError as error:
                print(f"{name}, watched {watched}: {error}", flush=True)
        for (step, watched), outcomes in found.items():
            tell(name, step, watched, outcomes)


if __name__ == "__main__":
    main()
