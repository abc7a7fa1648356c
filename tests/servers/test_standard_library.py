"""Servers of the standard library: ``python -m http.server``, and one that forks its workers."""

import os
import signal
import sys
from contextlib import ExitStack

from harness import Launcher
from load import Load
from serving import Ended, Server, free_port, same_with_and_without

PREFORKING = """
import os, signal, socket, sys
import application

def serve(listening):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            text = application.answer()
            head = f"HTTP/1.0 200 OK\\r\\nContent-Length: {len(text)}\\r\\n\\r\\n"
            connection.sendall((head + text).encode())
            while connection.recv(65536): pass  # until the client has it all

def end(number, frame):
    raise SystemExit

listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
signal.signal(signal.SIGTERM, end)
workers = set()
try:
    while True:
        while len(workers) < 2:
            if not (pid := os.fork()):
                serve(listening)
            workers.add(pid)
            print("forked", pid, flush=True)
        pid, status = os.wait()
        workers.remove(pid)
        print("ended", pid, status, flush=True)
finally:
    if workers and os.getpid() == os.getpgid(0):
        for pid in workers: os.kill(pid, signal.SIGTERM)
        for pid in workers: print("ended", *os.waitpid(pid, 0), flush=True)
"""

CHANGE = """
import io
send_head = SimpleHTTPRequestHandler.send_head
def changed(self):
    send_head(self).close()
    return io.BytesIO(b"other")
SimpleHTTPRequestHandler.send_head = changed
"""


def test_http_server_is_changed_under_load(launch: Launcher) -> None:
    def scenario(watched: bool) -> Ended:
        port = free_port()
        (launch.home / "served").mkdir(exist_ok=True)
        (launch.home / "served/index.html").write_text("plain")
        words = [sys.executable, "-m", "http.server", str(port), "-d", "served"]
        server = Server(launch, [*words, "-b", "127.0.0.1"], watched=watched)
        server.wait_until_serving(port)
        with Load(port) as load, ExitStack() as stack:
            server.check_list({server.pid})
            load.wait_for_answers({"plain"})
            for client in server.connect(stack, {server.pid}).values():
                assert client.run(CHANGE).status == "ok"
                # as many bytes as the header says that the file has
                load.wait_for_answers({"other"})
                assert client.run("SimpleHTTPRequestHandler.send_head = send_head").status == "ok"
                load.wait_for_answers({"plain"})
        code, out, errors = server.end(signal.SIGINT)
        return code, out, "\n".join(sorted(set(errors.splitlines())))

    code, out, _ = same_with_and_without(scenario)
    assert (code, "Keyboard interrupt received" in out) == (0, True)


def test_workers_of_a_preforking_server_are_changed_and_replaced_under_load(
    launch: Launcher, application: str
) -> None:
    def scenario(watched: bool) -> Ended:
        launch.script(PREFORKING, "preforking.py")
        port = free_port()
        words = [sys.executable, "preforking.py", str(port)]
        server = Server(launch, words, watched=watched, start_new_session=True)
        workers = server.wait_for_workers(2)
        with Load(port) as load:
            server.check_list({server.pid, *workers})
            server.change(workers, load)

            def end_all() -> None:
                for pid in workers:
                    os.kill(pid, signal.SIGTERM)

            fresh = server.replace(end_all, load, ConnectionError, ends=workers)  # amid requests
            server.check_list({server.pid, *fresh})
            server.change(fresh, load, word="again")
            server.check_answers(load)
        return server.end()

    code, out, errors = same_with_and_without(scenario)
    assert (code, errors) == (0, "")
    assert out.count("ended") == out.count("forked") == 4
