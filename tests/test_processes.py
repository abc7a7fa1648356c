"""Forks, execs and multiprocessing: each process has a console of its own, or none."""

import json
import os
import signal
import socket
import sys
import textwrap
from contextlib import ExitStack

import commands
import pytest
from harness import Client, Launcher, Program, wait_for


def client_of(program: Program, pid: int) -> Client:
    path = program.connection_file_of(pid)
    wait_for(path.exists, f"{path}")
    return Client(path).ready()


@pytest.mark.parametrize("attached", [False, True])
def test_after_a_fork_both_have_consoles_of_their_own(launch: Launcher, attached: bool) -> None:
    program = launch(
        """
        import os, time
        name, pid = "parent", 0
        while name == "parent":
            time.sleep(0.01)
            if pid == "fork":
                pid = os.fork()
                if pid == 0: name = "child"
        while True: time.sleep(0.01)
        """,
        python=None,
    )
    parent = client_of(program, program.pid) if attached else None
    if parent is not None:
        parent.run("pid = 'fork'")
    else:
        with program.client() as client:
            client.run("pid = 'fork'")
            wait_for(lambda: client.value("isinstance(pid, int)"), "the fork")
    parent = parent or client_of(program, program.pid)
    try:
        pid = wait_for(lambda: parent.value("isinstance(pid, int) and pid"), "the child's pid")
        child = client_of(program, pid)
        try:
            assert child.value("(name, os.getpid())") == ("child", pid)
            assert parent.value("(name, os.getpid())") == ("parent", program.pid)
            assert child.run("print('child')").stdout == "child\n"
            keys = {
                json.loads(program.connection_file_of(p).read_text())["key"]
                for p in (pid, program.pid)
            }
            assert len(keys) == 2
        finally:
            child.send("os._exit(0)")
            child.close()
        assert parent.run("'parent goes on'").result == "'parent goes on'"
    finally:
        parent.close()


def test_a_dormant_process_forks_without_a_warning(launch: Launcher) -> None:
    source = """
        import os, warnings
        warnings.simplefilter("always")
        for n in range(200):
            pid = os.fork()
            if pid == 0: os._exit(0)
            os.waitpid(pid, 0)
        print("done")
        """
    program = launch(source)
    assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("done\n", "")


def test_a_dormant_parent_can_be_attached_to_after_a_fork(launch: Launcher) -> None:
    program = launch(
        """
        import os, time
        pid = os.fork()
        if pid: print(pid, flush=True)
        time.sleep(60)
        """
    )
    program.wait_for_output("\n")
    with program.client() as client:
        assert client.run("pid").result == program.stdout.strip()
        client.run("import os, signal; os.kill(pid, signal.SIGKILL)")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_have_consoles(launch: Launcher, method: str) -> None:
    program = launch(
        f"""
        import multiprocessing, os, time
        def work(queue):
            queue.put(os.getpid())
            time.sleep(60)
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            queue = context.Queue()
            children = [context.Process(target=work, args=[queue]) for _ in range(2)]
            for child in children: child.start()
            pids = [queue.get() for _ in children]
            print(*pids, flush=True)
            while not os.path.exists("stop"): time.sleep(0.01)
            for child in children: child.terminate()
            for child in children: child.join()
            print([child.exitcode for child in children])
        """,
        cwd=launch.home,
    )
    wait_for(lambda: program.stdout.endswith("\n"), "the children")
    for pid in map(int, program.stdout.split()):
        client = client_of(program, pid)
        try:
            assert client.value("__import__('os').getpid()") == pid
        finally:
            client.close()
    (launch.home / "stop").touch()
    assert program.wait() == 0
    assert program.stdout.endswith("[-15, -15]\n")
    assert program.stderr == ""


POOLS = {
    "Pool": """
        pool = context.Pool(1, maxtasksperchild=2)
        run = lambda: pool.apply(work)
        end = lambda: (pool.close(), pool.join())
        """,
    "ProcessPoolExecutor": """
        from concurrent.futures import ProcessPoolExecutor
        pool = ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=2)
        run = lambda: pool.submit(work).result()
        end = pool.shutdown
        """,
}


@pytest.mark.parametrize(
    ("pool", "method"),
    [("Pool", "fork"), ("ProcessPoolExecutor", "spawn"), ("ProcessPoolExecutor", "forkserver")],
)
def test_each_fresh_worker_of_a_pool_has_a_console_of_its_own(
    launch: Launcher, pool: str, method: str
) -> None:
    program = launch(
        f"""
        import multiprocessing, os, time
        word = "plain"
        def work():
            return f"{{word}} {{os.getpid()}}"
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            {textwrap.dedent(POOLS[pool]).strip().replace(chr(10), chr(10) + " " * 12)}
            number = 0
            while not os.path.exists("stop"):
                if os.path.exists(f"task {{number}}"):
                    # no print: beside it the pool may fork, see docs/limits.md
                    os.write(1, f"{{run()}}\\n".encode())
                    number += 1
                time.sleep(0.005)
            end()
            print("done", flush=True)
        """,
        cwd=launch.home,
        start_new_session=True,
    )
    done: list[str] = []

    def do() -> tuple[str, int]:
        """Have one more task done; return what its worker says, and who that is."""
        (launch.home / f"task {len(done)}").touch()
        wait_for(lambda: program.stdout.count("\n") > len(done), "the task")
        done.append(program.stdout.splitlines()[-1])
        word, pid = done[-1].split()
        return word, int(pid)

    def listed() -> set[int]:
        rows = json.loads(commands.run(launch, "list", "--json").stdout)
        home = f"{launch.home}/"
        return {row["pid"] for row in rows if row["connection_file"].startswith(home)}

    def end_all() -> None:
        """Where the test fails: workers outlive a parent that is killed."""
        if program.is_running():
            os.killpg(program.pid, signal.SIGKILL)

    former: set[int] = set()
    with ExitStack() as stack:
        stack.callback(end_all)
        for _ in range(3):
            word, worker = do()
            assert word == "plain"
            assert worker not in {program.pid, *former}
            client = client_of(program, worker)
            stack.callback(client.close)
            assert client.value("(__import__('os').getpid(), word)") == (worker, "plain")
            wait_for(lambda pid=worker: listed() == {program.pid, pid}, "the list")
            client.run("word = 'changed'")
            # its second and last: from here on its client is one of a process that has ended
            assert do() == ("changed", worker)
            former.add(worker)
            if len(former) == 1:  # the others are made beside a kernel
                stack.enter_context(program.client())
        (launch.home / "stop").touch()
        assert program.wait() == 0
    assert program.stdout.splitlines() == [*done, "done"]
    assert program.stderr == ""
    assert not list(program.runtime_dir.glob("kernel-rt-*.json"))


def test_a_cell_that_forks_leaves_parent_and_client_going_on(counter: Program) -> None:
    with counter.client() as client:
        client.run("import os, signal, time")
        reply = client.run(
            """
            pid = os.fork()
            if pid == 0:
                print("in the child", flush=True)
                try: time.sleep(60)
                finally: os._exit(0)
            pid
            """
        )
        pid = int(reply.result or 0)
        assert "in the child" not in reply.stdout
        child = client_of(counter, pid)
        try:
            assert child.value("os.getpid()") == pid
            assert child.run("signal.pthread_sigmask(signal.SIG_BLOCK, [])").status == "ok"
        finally:
            child.close()
        assert client.run("os.kill(pid, signal.SIGTERM); os.waitpid(pid, 0)[1]").result == "15"
        assert client.run("'parent'").result == "'parent'"


def test_exec_replaces_the_console_of_the_same_process(launch: Launcher) -> None:
    second = launch.script("name = 'second'\nimport time\ntime.sleep(60)", "second.py")
    program = launch(
        f"""
        import os, sys, time
        while not os.path.exists("go"): time.sleep(0.01)
        os.execv(sys.executable, [sys.executable, {str(second)!r}])
        """,
        cwd=launch.home,
    )
    before = program.info
    (launch.home / "go").touch()
    wait_for(lambda: program.info["key"] != before["key"], "the new console")
    with program.client() as client:
        wait_for(lambda: client.run("name").result == "'second'", "the new program")
    assert len(list(program.runtime_dir.glob("kernel-rt-*.json"))) == 1


def test_an_exec_without_the_variable_or_into_a_client_leaves_no_file_of_ours(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import os, sys
        os.execv(sys.executable, [sys.executable, "-m", "pip", "--version"])
        """
    )
    assert program.wait() == 0
    assert not list(program.runtime_dir.glob("kernel-rt-*.json"))


def test_a_daemon_that_closes_all_descriptors_is_reachable_and_unharmed(launch: Launcher) -> None:
    program = launch(
        """
        import os, sys, time
        os.closerange(3, 256)
        files = [open(f"file{n}", "w") for n in range(12)]
        while True:
            for file in files: file.write("x"); file.flush()
            time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    wait_for(lambda: (launch.home / "file11").exists(), "the program")
    address = f"{program.info['ip']}-{program.info['hb_port']}"

    def is_listening() -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(address) == 0

    wait_for(is_listening, "sockets made anew")
    with program.client() as client:
        wait_for(lambda: client.run("files").status == "ok", "the files")
        assert client.value("[f.closed for f in files]") == [False] * 12
        size = client.value("os.path.getsize('file0')")
        wait_for(lambda: client.value("os.path.getsize('file0')") > size, "the program to write")
    assert program.is_running()
    assert program.stderr == ""


def test_a_program_that_closes_descriptors_and_ends_is_unharmed(launch: Launcher) -> None:
    program = launch(
        """
        import os
        os.closerange(3, 256)
        file = open("own", "w")
        pid = os.fork()
        file.write("child" if pid == 0 else "parent"); file.flush()
        if pid: os.waitpid(pid, 0)
        """,
        cwd=launch.home,
    )
    assert program.wait() == 0
    assert (launch.home / "own").read_text() in ("childparent", "parentchild")
    assert program.stderr == ""


def test_short_programs_leave_nothing_behind(launch: Launcher) -> None:
    for ending in ("pass", "raise SystemExit(3)", "1/0", "import os; os.abort()"):
        plain = launch(None, "-c", ending, env={"RTCONSOLE": None})
        program = launch(None, "-c", ending)
        assert program.wait() == plain.wait()
        assert (program.stdout, program.stderr) == (plain.stdout, plain.stderr)
    left = {path.name for path in program.runtime_dir.glob("*.json")}
    assert left <= {f"kernel-rt-{program.pid}.json"}, "only an abort leaves its file"


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
def test_descriptors_that_were_closed_at_the_start_stay_closed(
    launch: Launcher, closed: str
) -> None:
    source = """
        import os
        def is_open(fd):
            try: os.fstat(fd)
            except OSError: return False
            return True
        with open("open", "w") as file: file.write(str([is_open(fd) for fd in (0, 1, 2)]))
    """
    found = []
    for switch in ("0", "1"):
        script = launch.script(source)
        command = ["/bin/sh", "-c", f'exec "$0" "$1" {closed}', sys.executable, str(script)]
        ended = launch(python=command, env={"RTCONSOLE": switch}, cwd=launch.home)
        assert ended.wait() == 0, ended.describe()
        found.append((launch.home / "open").read_text())
    assert found[0] == found[1]
