"""gunicorn: every kind of worker, HUP, TTIN, TTOU, max_requests, and its own shutdown."""

import re
import signal
from functools import partial

import pytest
from harness import Launcher
from load import Load
from serving import Ended, Server, ends_well_with_and_without, serve, tool

pytest.importorskip("gunicorn")

KINDS = {
    "sync": ("application:wsgi",),
    "gthread": ("application:wsgi", "--threads", "2"),
    "gevent": ("application:wsgi",),
    "uvicorn_worker.UvicornWorker": ("application:asgi",),
}


def start(launch: Launcher, watched: bool, kind: str, *more: str) -> tuple[Server, int]:
    if kind not in ("sync", "gthread"):
        pytest.importorskip(kind.partition(".")[0])
    words = [*tool("gunicorn"), *KINDS[kind], "-k", kind, "-b", "127.0.0.1:{port}", "-w", "2"]
    return serve(launch, watched, *words, *more)


def lost(kind: str) -> tuple[type[Exception], ...]:
    """uvicorn, when it ends, closes connections that it has accepted and not read, on its own."""
    return (ConnectionError,) if "uvicorn" in kind else ()


@pytest.mark.parametrize("kind", KINDS)
def test_workers_are_changed_under_load_and_hup_and_ttin_work_as_without(
    launch: Launcher, application: str, kind: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, kind)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            server.change(workers, load)
            hup = partial(server.program.signal, signal.SIGHUP)
            fresh = server.replace(hup, load, *lost(kind), ends=workers)
            load.wait_for_answers({f"plain {pid}" for pid in fresh})
            server.check_list({server.pid, *fresh})
            server.program.signal(signal.SIGTTIN)
            more = server.wait_for_workers(3)
            server.change(more, load)
            with load.losing(*lost(kind)):
                server.program.signal(signal.SIGTTOU)
                fewer = server.wait_for_workers(2)
            server.check_list({server.pid, *fewer})
            load.answers(50)
            server.check_answers(load)
        code, out, errors = server.end()
        # said in some runs, with a console and without: a second signal met a gevent worker
        lines = [line for line in errors.splitlines() if "was sent SIGTERM" not in line]
        return code, out, "\n".join(lines)

    ends_well_with_and_without(scenario)


def test_gevent_workers_that_nobody_looks_into_are_listed_and_reload_as_without(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, "gevent")
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            load.wait_for_answers({f"plain {pid}" for pid in workers})  # not in their start
            server.program.signal(signal.SIGHUP)
            fresh = server.wait_for_workers(2, other_than=workers)
            server.check_list({server.pid, *fresh})
            load.wait_for_answers({f"plain {pid}" for pid in fresh})
        return server.end()

    ends_well_with_and_without(scenario)


def killed(errors: str) -> set[int]:
    """Return the workers that have not ended by themselves, from gunicorn's log.

    Its signal to end may come while a gevent worker starts, watched or not, and is lost then.
    """
    booted = re.findall(r"Booting worker with pid: (\d+)", errors)
    exited = re.findall(r"Worker exiting \(pid: (\d+)\)", errors)
    return {int(pid) for pid in booted if pid not in exited}


@pytest.mark.parametrize("kind", KINDS)
def test_workers_are_recycled_while_a_client_is_attached(
    launch: Launcher, application: str, kind: str
) -> None:
    def scenario(watched: bool) -> Ended:
        limits = "--max-requests", "200", "--graceful-timeout", "5"
        server, port = start(launch, watched, kind, *limits)
        server.recycle(port, server.wait_for_workers(2), *lost(kind))
        code, out, errors = server.end(killed=killed)
        lines = {line for line in errors.splitlines() if "was sent SIG" not in line}
        return code, out, "\n".join(sorted(lines))

    ends_well_with_and_without(scenario)
