"""uWSGI: workers that C forks, so that the application has to ask for a console in each."""

import importlib.util
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial

import commands
import pytest
from harness import Launcher
from load import Load
from serving import Ended, Server, ends_well_with_and_without, serve, tool

if importlib.util.find_spec("uwsgidecorators") is None:  # it can be imported in uWSGI only
    pytest.skip("could not import 'uwsgidecorators'", allow_module_level=True)

# No hook of Python's is called in a worker, unless py-call-osafterfork is on; and with that,
# workers abort on Python 3.13, with or without rtconsole (uWSGI 2.0.31).
WITH_CONSOLE = """
import os
from uwsgidecorators import postfork
from application import wsgi

@postfork
def open_console():
    if os.environ.get("RTCONSOLE"):
        from rtconsole import start_console
        start_console()
"""
PLAIN = "from application import wsgi"

# With this one it holds the interpreter's lock when it forks, and calls all hooks, so ours, too.
WITH_HOOKS = "--py-call-uwsgi-fork-hooks"


def start(launch: Launcher, watched: bool, source: str, *more: str) -> tuple[Server, int]:
    launch.script(source, "uwsgi_application.py")
    words = [*tool("uwsgi"), "--http-socket", "127.0.0.1:{port}", "--master", "-p", "2"]
    words += ["--module", "uwsgi_application:wsgi", "--die-on-term", "--disable-logging"]
    words += ["--enable-threads", "--single-interpreter", "--venv", sys.prefix, *more]
    return serve(launch, watched, *words)


def test_workers_that_ask_for_a_console_are_changed_under_load_and_reload_as_without(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, WITH_CONSOLE)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            server.change(workers, load)
            hup = partial(server.program.signal, signal.SIGHUP)  # it replaces itself by exec
            fresh = server.replace(hup, load, ends=workers)
            server.check_list({server.pid, *fresh})
            server.change(fresh, load, word="again")
            server.check_answers(load)
        return server.end(runs_no_exit=True)  # its master

    ends_well_with_and_without(scenario)


def test_workers_that_do_not_ask_serve_as_without_and_their_master_keeps_its_console(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, PLAIN)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid})
            load.wait_for_answers({f"plain {pid}" for pid in workers})  # not in their start
            stop = partial(os.kill, ended := min(workers), signal.SIGINT)
            server.replace(stop, load, ends={ended})
            server.check_list({server.pid})
            load.answers(50)
            server.check_answers(load)
        return server.end(runs_no_exit=True)  # its master

    ends_well_with_and_without(scenario)


def test_workers_are_recycled_while_a_client_is_attached(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        limits = "--max-requests", "200", "--min-worker-lifetime", "1"
        server, port = start(launch, watched, WITH_CONSOLE, *limits)
        server.recycle(port, server.wait_for_workers(2))
        return end(server)

    ends_well_with_and_without(scenario)


def end(server: Server) -> Ended:
    """End it; what it says once for each worker, or if two come soon after another, varies."""
    code, out, errors = server.end(runs_no_exit=True)  # its master
    lines = {line for line in errors.splitlines() if "respawning too fast" not in line}
    return code, out, "\n".join(sorted(lines))


def replace_workers(server: Server, load: Load, rounds: int) -> set[int]:
    """Kill one worker after the other; each time a fresh one serves."""
    workers = server.wait_for_workers(2)
    for _ in range(rounds):
        load.wait_for_answers({f"plain {pid}" for pid in workers})  # not in their start
        kill = partial(os.kill, killed := min(workers), signal.SIGKILL)
        workers = server.replace(kill, load, ConnectionError, ends={killed})  # what it accepted
    load.wait_for_answers({f"plain {pid}" for pid in workers})
    return workers


def test_with_its_fork_hooks_each_process_has_a_console_and_forks_beside_a_busy_kernel(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, PLAIN, WITH_HOOKS)
        workers = server.wait_for_workers(2)
        with Load(port) as load, ExitStack() as stack:
            server.check_list({server.pid, *workers})
            for client in server.connect(stack, {server.pid}).values():
                client.send("while True: pass")
            workers = replace_workers(server, load, 3)
            server.check_list({server.pid, *workers})
            server.change(workers, load)
            server.check_answers(load)
        return end(server)

    ends_well_with_and_without(scenario)


def test_without_them_no_kernel_that_would_hang_a_worker_runs_in_its_master(
    launch: Launcher, application: str
) -> None:
    server, port = start(launch, True, PLAIN)
    server.wait_for_workers(2)
    for _ in range(2):
        done = commands.run(launch, "exec", str(server.pid), "while True: pass")
        assert done.returncode != 0
        assert WITH_HOOKS.strip("-") in done.stderr
    with Load(port) as load:
        replace_workers(server, load, 3)
    assert server.end(runs_no_exit=True)[0] == 0
