"""uvicorn: --workers with its HUP, TTIN, TTOU and restarts, and --reload."""

import os
import signal
import time

import pytest
from harness import Launcher
from load import Load
from serving import APPLICATION, Ended, Server, free_port, same_with_and_without, tool

pytest.importorskip("uvicorn")


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
            with load.paused():
                server.program.signal(signal.SIGHUP)
                fresh = server.wait_for_workers(2, other_than=workers)
                server.wait_until_serving(port)
            server.check_list({server.pid, *fresh})
            server.change(fresh, load)
            with load.paused():
                server.program.signal(signal.SIGTTIN)
                more = server.wait_for_workers(3)
            server.change(more, load, word="again")
            with load.paused():
                server.program.signal(signal.SIGTTOU)
                fewer = server.wait_for_workers(2)
            with load.paused():  # one that is killed is replaced
                os.kill(killed := min(fewer), signal.SIGKILL)
                fresh = server.wait_for_workers(2, other_than={killed})
                server.wait_until_serving(port)
            server.check_list({server.pid, *fresh})
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
            with load.paused():
                time.sleep(1.1)  # its reloader compares times in whole seconds on some file systems
                launch.script(APPLICATION.replace("plain", "edited"), "application.py")
                second = server.wait_for_workers(1, other_than=first)
                server.wait_until_serving(port)
            load.wait_for_answers({f"edited {pid}" for pid in second})
            server.check_list({server.pid, *second})
        return server.end(signal.SIGINT)

    code, _, errors = same_with_and_without(scenario)
    assert "Traceback" not in errors
    assert code in (0, -signal.SIGINT)
