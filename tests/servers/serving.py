"""Servers as their users start them: with a console in each process, or without."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import commands
import psutil
from harness import Client, Launcher, Program, wait_for
from load import Load, get

# A web application, by WSGI and ASGI, whose answer is a function's to which a cell can give
# another value; the module is what a cell has to import, as a user would.
APPLICATION = """
import os

def answer():
    return f"plain {os.getpid()}"

def wsgi(environ, start_response):
    text = answer().encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    text = answer().encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
"""


# An exit code, and what was written to stdout and stderr.
Ended = tuple[int, str, str]

# What multiprocessing runs for itself.
HELPERS = ("resource_tracker import main", "forkserver import main")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def tool(name: str) -> list[str]:
    """Return the command line of a program that came with a package, in this interpreter's venv."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{path} is not installed: pip install 'rtconsole[servers]'"
    return [str(path)]


def children(pid: int) -> set[int]:
    """Return the live Python processes among a process's descendants.

    Without multiprocessing's own, which do nothing of the program's and get no console.
    """
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return set()
    return {child.pid for child in found if _is_python(child)}


def _is_python(process: psutil.Process) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        helper = any(word in " ".join(process.cmdline()) for word in HELPERS)
        # by the executable: the command line may be a title that the program has set
        return alive and not helper and Path(process.exe()).name.startswith(("python", "uwsgi"))
    except psutil.Error:
        return False


def listed(launch: Launcher) -> set[int]:
    """Return the processes that ``rtconsole-list`` shows, of those started by this test."""
    done = commands.run(launch, "list", "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    home = f"{launch.home}/"
    return {r["pid"] for r in json.loads(done.stdout) if r["connection_file"].startswith(home)}


class Server:
    """A program that is started twice in one test: watched, and without rtconsole.

    What is done to both is the same, but for looking and changing, which is done to the one that
    is watched.
    """

    def __init__(
        self,
        launch: Launcher,
        words: Iterable[str],
        *,
        watched: bool,
        env: dict[str, str | None] | None = None,
        **options: Any,
    ) -> None:
        changes = {**(env or {}), "RTCONSOLE": "1" if watched else None}
        self.launch = launch
        self.watched = watched
        self.program: Program = launch(python=list(words), env=changes, cwd=launch.home, **options)
        self.known: set[int] = {self.program.pid}

    @property
    def pid(self) -> int:
        return self.program.pid

    def all_pids(self) -> set[int]:
        return {self.pid, *children(self.pid)}

    def wait_for_workers(self, number: int, other_than: Iterable[int] = ()) -> set[int]:
        """Wait until it has that many worker processes, none of them among the former."""
        former = set(other_than)

        def settled() -> set[int] | None:
            found = children(self.pid)
            return found if len(found) == number and not found & former else None

        try:
            workers: set[int] = wait_for(settled, f"{number} workers")
        except AssertionError:
            raise AssertionError(f"{children(self.pid)} {self.program.describe()}") from None
        self.known |= workers
        return workers

    def wait_until_serving(self, port: int, path: str = "/") -> None:
        def serves() -> bool:
            assert self.program.is_running(), self.program.describe()
            try:
                return bool(get(port, path))
            except Exception:
                return False

        wait_for(serves, "an answer")

    def check_list(self, wanted: Iterable[int]) -> None:
        """Each of these processes is listed, and nothing else is."""
        if self.watched:
            wanted = set(wanted)
            wait_for(lambda: listed(self.launch) == wanted, f"a list of {wanted}")

    def connect(self, stack: ExitStack, pids: Iterable[int]) -> dict[int, Client]:
        """Attach to processes, if it is watched."""
        clients: dict[int, Client] = {}
        for pid in pids if self.watched else ():
            path = self.program.connection_file_of(pid)
            wait_for(path.exists, f"{path}")
            client = Client(path)
            stack.callback(client.close)
            clients[pid] = client.ready()
        return clients

    def change(
        self, pids: Iterable[int], load: Load, cell: str = "", word: str = "changed"
    ) -> None:
        """Redefine the handler in each worker, while it serves, and see all answers change."""
        pids = set(pids)
        answer = f"lambda: f'{word} {{os.getpid()}}'"
        cell = cell or f"import os, application; application.answer = {answer}"
        if not self.watched:
            load.wait_for_answers({f"plain {pid}" for pid in pids})
            return
        with ExitStack() as stack:
            for pid, client in self.connect(stack, pids).items():
                reply = client.run(cell)
                assert reply.status == "ok", (pid, reply)
            load.wait_for_answers({f"{word} {pid}" for pid in pids})

    def replace(
        self, do: Callable[[], object], load: Load, *lost: type[Exception], ends: Iterable[int]
    ) -> set[int]:
        """Do what ends processes and starts as many, under load; return the workers then.

        Args:
            lost: how requests may fail until the last of the former has ended and a fresh one
                has answered, since they do so without rtconsole: see ``losses.py``.
            ends: who is to end.
        """
        before = children(self.pid)
        with load.losing(*lost):
            do()
            workers = self.wait_for_workers(len(before), other_than=ends)
            load.wait_for_answer(answers(workers - before))
        return workers

    def recycle(self, port: int, workers: set[int], *lost: type[Exception]) -> None:
        """Look into each worker, load them until they are recycled, and see the fresh ones listed.

        Args:
            lost: how requests may fail meanwhile, since they do so without rtconsole.
        """
        with ExitStack() as stack:
            for client in self.connect(stack, workers).values():
                assert client.run("import application").status == "ok"
            with Load(port) as load, load.losing(*lost):
                wait_for(lambda: not any(map(is_alive, workers)), "the workers' end")
                load.answers(20)
            self.wait_for_workers(len(workers), other_than=workers)
            if self.watched:  # one more may just end
                wait_for(lambda: listed(self.launch) == self.all_pids(), "a list of all")

    def check_answers(self, load: Load) -> None:
        """No answer was another one than a process of it gives, nor a part of it."""
        self.known |= self.all_pids()
        assert not load.texts - answers(self.known)

    def end(
        self,
        number: int = signal.SIGTERM,
        *,
        whole_group: bool = False,
        runs_no_exit: bool = False,
        killed: Callable[[str], set[int]] = lambda _: set(),
    ) -> Ended:
        """End it by a signal; return its exit code, and what it wrote without pids and times.

        Args:
            whole_group: whether all its processes get the signal, as by Ctrl-C in a terminal.
        """
        self.known |= self.all_pids()
        if whole_group:
            os.killpg(self.pid, number)
        else:
            self.program.signal(number)
        return self.ended(runs_no_exit=runs_no_exit, killed=killed)

    def ended(
        self,
        *,
        runs_no_exit: bool = False,
        killed: Callable[[str], set[int]] = lambda _: set(),
    ) -> Ended:
        """Wait for its end: its children are gone, and so are all files of ours.

        Args:
            runs_no_exit: whether it leaves the interpreter without its end, as a signal does:
                then its own files, and no others, go when somebody lists.
            killed: returns those whom it has killed, from what it wrote to stderr: likewise.
        """
        code = self.program.wait()
        wait_for(lambda: not any(map(is_alive, self.known)), f"the end of {self.known}")
        later = {*killed(self.program.stderr), *([self.pid] if runs_no_exit else [])}
        left = [name for name in self.files() if not any(str(pid) in name for pid in later)]
        assert not left, (left, self.program.describe())
        assert listed(self.launch) == set()
        assert not self.files()
        return code, normal(self.program.stdout), normal(self.program.stderr)

    def files(self) -> list[str]:
        """The names of all connection files and sockets."""
        folders = self.program.runtime_dir, self.launch.sockets / "rtconsole"
        return [path.name for folder in folders for path in folder.rglob("*-*")]


def answers(pids: Iterable[int]) -> set[str]:
    """Return all that the applications here answer in these processes, changed or not."""
    words = ("plain", "changed", "again", "edited")
    return {f"{word} {pid}" for word in words for pid in pids}


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def normal(text: str) -> str:
    """Return what was written without numbers (pids, times, ports); lines in any order."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"0x[0-9a-f]+", "#", text)
    text = re.sub(r"={5,}", "=====", text)  # as long as its line's numbers leave room for
    return "\n".join(sorted(re.sub(r"\d+", "#", line) for line in text.splitlines()))


def serve(launch: Launcher, watched: bool, *words: str) -> tuple[Server, int]:
    """Start a server and wait until it answers; return it and its port, ``{port}`` in the words."""
    port = free_port()
    server = Server(launch, [word.format(port=port) for word in words], watched=watched)
    server.wait_until_serving(port)
    return server, port


def same_with_and_without(scenario: Callable[[bool], Ended]) -> Ended:
    """Run a scenario without rtconsole, then watched: exit code and output are the same."""
    without = scenario(False)
    watched = scenario(True)
    assert watched == without
    return watched


def ends_well_with_and_without(scenario: Callable[[bool], Ended]) -> None:
    """Likewise; and it has neither failed nor shown a traceback."""
    code, out, errors = same_with_and_without(scenario)
    assert (code, "Traceback" in errors) == (0, False), (out, errors)
