"""Flask's and Django's development servers: two processes, and a new one for each edit."""

import signal
import sys
from functools import partial
from http.client import IncompleteRead
from pathlib import Path

import pytest
from harness import Launcher
from load import Load
from serving import Ended, Server, free_port, same_with_and_without, tool

FLASK = """
import os
from flask import Flask
app = Flask(__name__)

def answer():
    return f"plain {os.getpid()}"

@app.get("/")
def page():
    return answer()
"""
DJANGO = """
import os, sys
import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

def answer():
    return f"plain {os.getpid()}"

urlpatterns = [path("", lambda request: HttpResponse(answer()))]
middleware = ["django.middleware.common.CommonMiddleware"]  # says how long an answer is
settings.configure(
    DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=middleware
)
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


def edited_while_watched(
    launch: Launcher, source: Path, words: list[str], port: int, watched: bool, change: str
) -> Ended:
    """Change the handler, edit the file, and change the handler of the process that comes then."""
    text = source.read_text().replace("edited", "plain")
    source.write_text(text)
    server = Server(launch, words, watched=watched, start_new_session=True)
    server.wait_until_serving(port)
    workers = server.wait_for_workers(1)
    with Load(port) as load:
        server.check_list({server.pid, *workers})
        server.change(workers, load, change % "changed")
        edit = partial(source.write_text, text.replace("plain", "edited"))
        # Both end amid what their threads serve, and write an answer in two parts; Django's also
        # closes its listening socket.
        fresh = server.replace(edit, load, ConnectionError, IncompleteRead, ends=workers)
        load.wait_for_answers({f"edited {pid}" for pid in fresh})
        server.check_list({server.pid, *fresh})
        if watched:
            server.change(fresh, load, change % "again", word="again")
        server.check_answers(load)
    code, out, errors = server.end(signal.SIGINT, whole_group=True)
    # a line for each request
    return code, out, "\n".join(line for line in errors.splitlines() if '"GET / ' not in line)


def test_flask_reloads_an_edited_file_while_it_is_looked_into(launch: Launcher) -> None:
    pytest.importorskip("flask")

    def scenario(watched: bool) -> Ended:
        source, port = launch.script(FLASK, "site_flask.py"), free_port()
        words = [*tool("flask"), "--app", source.stem, "run", "--debug", "-p", str(port)]
        change = "import os, site_flask; site_flask.answer = lambda: f'%s {os.getpid()}'"
        return edited_while_watched(launch, source, words, port, watched, change)

    code, _, errors = same_with_and_without(scenario)
    assert (code, "Traceback" in errors) == (0, False)


def test_django_reloads_an_edited_file_while_it_is_looked_into(launch: Launcher) -> None:
    pytest.importorskip("django")

    def scenario(watched: bool) -> Ended:
        source, port = launch.script(DJANGO, "site_django.py"), free_port()
        words = [sys.executable, str(source), "runserver", str(port)]
        # the script itself: what it defines is what the console sees
        change = "import os; answer = lambda: f'%s {os.getpid()}'"
        return edited_while_watched(launch, source, words, port, watched, change)

    code, _, errors = same_with_and_without(scenario)
    assert (code, "Traceback" in errors) == (0, False)
