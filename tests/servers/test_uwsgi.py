"""uWSGI: workers that C forks, so that the application has to ask for a console in each."""

import importlib.util
import os
import signal
import sys

import pytest
from harness import Launcher
from load import Load
from serving import Ended, Server, free_port, same_with_and_without, tool

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


def start(launch: Launcher, watched: bool, source: str) -> tuple[Server, int]:
    launch.script(source, "uwsgi_application.py")
    port = free_port()
    words = [*tool("uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master", "-p", "2"]
    words += ["--module", "uwsgi_application:wsgi", "--die-on-term", "--disable-logging"]
    words += ["--enable-threads", "--single-interpreter", "--venv", sys.prefix]
    server = Server(launch, words, watched=watched)
    server.wait_until_serving(port)
    return server, port


def test_workers_that_ask_for_a_console_are_changed_under_load_and_reload_as_without(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, WITH_CONSOLE)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            server.change(workers, load)
            with load.paused():
                server.program.signal(signal.SIGHUP)  # the master replaces itself by exec
                fresh = server.wait_for_workers(2, other_than=workers)
                server.wait_until_serving(port)
            server.check_list({server.pid, *fresh})
            server.change(fresh, load, word="again")
        return server.end(runs_no_exit=True)  # its master

    code, _, errors = same_with_and_without(scenario)
    assert code == 0
    assert "Traceback" not in errors


def test_workers_that_do_not_ask_serve_as_without_and_their_master_keeps_its_console(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        server, port = start(launch, watched, PLAIN)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid})
            load.wait_for_answers({f"plain {pid}" for pid in workers})  # not in their start
            with load.paused():
                os.kill(ended := min(workers), signal.SIGINT)  # its end, and another begins
                server.wait_for_workers(2, other_than={ended})
            server.check_list({server.pid})
            load.answers(50)
        return server.end(runs_no_exit=True)  # its master

    code, _, errors = same_with_and_without(scenario)
    assert code == 0
    assert "Traceback" not in errors
