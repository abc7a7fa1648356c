"""uvicorn: --workers with its HUP, TTIN, TTOU and restarts, and --reload."""

import os
import signal
import time
from functools import partial
from http.client import IncompleteRead

import pytest
from harness import Launcher
from load import Load
from serving import APPLICATION, Ended, Server, free_port, same_with_and_without, tool

pytest.importorskip("uvicorn")

# When a worker ends, it closes connections that it has accepted and not read.
LOST = ConnectionError


def test_workers_are_changed_under_load_and_hup_and_ttin_work_as_without(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        port = free_port()
        words = [*tool("uvicorn"), "application:asgi", "--port", str(port), "--workers", "2"]
        server = Server(launch, [*words, "--no-access-log"], watched=watched)
        server.wait_until_serving(port)
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

    code, _, errors = same_with_and_without(scenario)
    assert code == 0
    assert "Traceback" not in errors


def test_a_changed_file_reloads_it_while_a_client_is_attached(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        launch.script(APPLICATION, "application.py")
        port = free_port()
        words = [*tool("uvicorn"), "application:asgi", "--port", str(port), "--reload"]
        server = Server(launch, [*words, "--no-access-log"], watched=watched)
        server.wait_until_serving(port)
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
        port = free_port()
        words = [*tool("uvicorn"), "application:asgi", "--port", str(port), "--workers", "2"]
        words += ["--no-access-log", "--limit-max-requests", "200"]
        server = Server(launch, words, watched=watched)
        server.wait_until_serving(port)
        server.recycle(port, server.wait_for_workers(2), LOST)
        code, out, errors = server.end()
        return code, out, "\n".join(sorted(set(errors.splitlines())))

    code, _, errors = same_with_and_without(scenario)
    assert code == 0
    assert "Traceback" not in errors
