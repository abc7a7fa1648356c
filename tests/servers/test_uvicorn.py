"""uvicorn: --workers with its HUP, TTIN, TTOU and restarts, and --reload."""

import os
import signal
import time
from functools import partial
from http.client import IncompleteRead

import pytest
from harness import Launcher
from load import Load
from serving import (
    APPLICATION,
    Ended,
    Server,
    ends_well_with_and_without,
    same_with_and_without,
    serve,
    tool,
)

pytest.importorskip("uvicorn")

# When a worker ends, it closes connections that it has accepted and not read.
LOST = ConnectionError


def start(launch: Launcher, watched: bool, *more: str) -> tuple[Server, int]:
    words = [*tool("uvicorn"), "application:asgi", "--port", "{port}", "--no-access-log"]
    return serve(launch, watched, *words, *more)


def test_workers_are_changed_under_load_and_hup_and_ttin_work_as_without(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, "--workers", "2")
        # beside its workers there is multiprocessing's resource tracker, which has no console
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            server.change(workers, load)
            hup = partial(server.program.signal, signal.SIGHUP)
            fresh = server.replace(hup, load, LOST, ends=workers)
            server.check_list({server.pid, *fresh})
            server.change(fresh, load)
            server.program.signal(signal.SIGTTIN)
            more = server.wait_for_workers(3)
            server.change(more, load, word="again")
            with load.losing(LOST):
                server.program.signal(signal.SIGTTOU)
                fewer = server.wait_for_workers(2)
            kill = partial(os.kill, killed := min(fewer), signal.SIGKILL)
            # it writes an answer in two parts
            fresh = server.replace(kill, load, LOST, IncompleteRead, ends={killed})
            server.check_list({server.pid, *fresh})
            server.check_answers(load)
        return server.end()

    ends_well_with_and_without(scenario)


def test_a_changed_file_reloads_it_while_a_client_is_attached(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        launch.script(APPLICATION, "application.py")
        server, port = start(launch, watched, "--reload")
        first = server.wait_for_workers(1)
        with Load(port) as load:
            server.check_list({server.pid, *first})
            server.change(first, load)
            time.sleep(1.1)  # its reloader compares times in whole seconds on some file systems
            source = APPLICATION.replace("plain", "edited")
            edit = partial(launch.script, source, "application.py")
            second = server.replace(edit, load, LOST, ends=first)
            load.wait_for_answers({f"edited {pid}" for pid in second})
            server.check_list({server.pid, *second})
            server.check_answers(load)
        return server.end(signal.SIGINT)

    code, _, errors = same_with_and_without(scenario)
    assert "Traceback" not in errors
    assert code in (0, -signal.SIGINT)


def test_workers_are_recycled_while_a_client_is_attached(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, "--workers", "2", "--limit-max-requests", "200")
        server.recycle(port, server.wait_for_workers(2), LOST)
        code, out, errors = server.end()
        return code, out, "\n".join(sorted(set(errors.splitlines())))

    ends_well_with_and_without(scenario)
