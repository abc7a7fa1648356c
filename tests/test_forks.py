"""Every way to start a Python process: each has its own console, and none of its parent's."""

import contextlib
import json
import os
import sys
import textwrap
import threading
from pathlib import Path

import alike
import pytest
from harness import PATIENCE, Client, Launcher, Program, wait_for

from rtconsole import forks, listener

# Each process calls report() first: has it a connection file already? Then it waits for the end.
HELPER = """
    import json, os, time

    def report(name):
        told = dict(name=name, pid=os.getpid(), has_file=os.path.exists(
            f"{os.environ['HOME']}/.local/share/jupyter/runtime/kernel-rt-{os.getpid()}.json"))
        fd = os.open(f"{os.environ['HOME']}/reports", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, json.dumps(told).encode() + b"\\n")
        os.close(fd)

    def wait():
        home = os.environ["HOME"]  # gone with the test, if that failed
        while os.path.exists(home) and not os.path.exists(f"{home}/stop"):
            time.sleep(0.01)

    def work(name="child"):
        report(name)
        wait()
"""
FORKED = """
    pid = {fork}
    if pid == 0:
        work()
        os._exit(0)
    work("parent")
    os.waitpid(pid, 0)
"""
CHILD = "'-c', 'import helper; helper.work()'"
WAYS = {
    "fork": FORKED.format(fork="os.fork()"),
    "fork in a thread": """
        import threading
        def thread():
            if os.fork() == 0:
                work()
                os._exit(0)
        import warnings
        warnings.simplefilter("ignore")  # forking beside the main thread is this program's choice
        threading.Thread(target=thread).start()
        work("parent")
        os.wait()
        """,
    "pty.fork": FORKED.format(fork="pty.fork()[0]"),
    "daemon": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 256)
                for fd in range(3): assert os.open("/dev/null", os.O_RDWR) == fd
                work()
            os._exit(0)
        os.wait()
        work("parent")
        """,
    "subprocess": f"""
        child = subprocess.Popen([sys.executable, {CHILD}])
        work("parent")
        child.wait()
        """,
    "posix_spawn": f"""
        child = os.posix_spawn(sys.executable, [sys.executable, {CHILD}], os.environ)
        work("parent")
        os.waitpid(child, 0)
        """,
    "spawnv": f"""
        child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, {CHILD}])
        work("parent")
        os.waitpid(child, 0)
        """,
    "subprocess with a function": f"""
        child = subprocess.Popen([sys.executable, {CHILD}], preexec_fn=os.setsid)
        work("parent")
        child.wait()
        """,
    "fork and exec": f"""
        pid = os.fork()
        if pid == 0: os.execv(sys.executable, [sys.executable, {CHILD}])
        work("parent")
        os.waitpid(pid, 0)
        """,
    **{
        f"multiprocessing, {method}": f"""
            import multiprocessing
            if __name__ == "__main__":
                child = multiprocessing.get_context({method!r}).Process(target=work)
                child.start()
                work("parent")
                child.join()
            """
        for method in ("fork", "spawn", "forkserver")
    },
    **{
        f"ProcessPoolExecutor, {method}": f"""
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            if __name__ == "__main__":
                with ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
                    future = pool.submit(work)
                    work("parent")
                    future.result()
            """
        for method in ("fork", "spawn")
    },
}


def start(launch: Launcher, way: str) -> tuple[Program, dict[str, int]]:
    """Start a program that starts a child, and return it with the pids by name."""
    launch.script(HELPER, "helper.py")
    source = "import os, pty, subprocess, sys\nfrom helper import report, wait, work\n"
    program = launch(source + textwrap.dedent(WAYS[way]), env={"PYTHONPATH": str(launch.home)})
    return program, wait_for_reports(launch, 2)


def wait_for_reports(launch: Launcher, number: int) -> dict[str, int]:
    """Wait until that many processes have reported, and return their pids by name."""
    path = launch.home / "reports"

    def reports() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    wait_for(lambda: len(reports()) >= number, "all processes to report")
    told = [json.loads(line) for line in reports()]
    assert all(report["has_file"] for report in told), "no console before the program's code"
    return {report["name"]: report["pid"] for report in told}


def check_each_has_its_own(
    launch: Launcher, program: Program, pids: dict[str, int], *, attached: bool = False
) -> None:
    """The two processes have a console each, and neither has anything of the other's."""
    parent, child = pids["parent"], pids["child"]
    infos = [json.loads(program.connection_file_of(pid).read_text()) for pid in (parent, child)]
    assert infos[0]["key"] != infos[1]["key"]
    assert infos[0]["ip"] != infos[1]["ip"]
    for pid, other in ((parent, child), (child, parent)):
        # a daemon's are made anew a second after it closed them
        own = wait_for(lambda pid=pid: bound(launch, pid) & sockets_of(pid), "its sockets")
        wait_for(lambda pid=pid: len(bound(launch, pid)) == 5, "all of them")
        assert not bound(launch, pid, also_connected=attached) & sockets_of(other)
        assert not own & sockets_of(other)


def stop(launch: Launcher, program: Program) -> None:
    """Have the processes end, and see that the program ends as it would."""
    (launch.home / "stop").touch()
    assert program.wait() == 0, program.describe()
    assert program.stderr == ""


def sockets_of(pid: int) -> set[str]:
    """Return the sockets that a process holds."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def bound(launch: Launcher, pid: int, also_connected: bool = False) -> set[str]:
    """Return the sockets that listen at a process's addresses, whoever holds them."""
    prefix = f"{launch.sockets}/rtconsole/{pid}-"
    lines = Path("/proc/net/unix").read_text().splitlines()
    # proc(5): the flag __SO_ACCEPTCON, the inode, the path
    fields = [line.split() for line in lines if prefix in line]
    return {f"socket:[{f[6]}]" for f in fields if also_connected or int(f[3], 16) & 0x10000}


@pytest.mark.parametrize("way", WAYS)
def test_each_process_has_sockets_file_and_key_of_its_own(launch: Launcher, way: str) -> None:
    program, pids = start(launch, way)
    check_each_has_its_own(launch, program, pids)
    stop(launch, program)


@pytest.mark.parametrize("way", WAYS if alike.IS_THOROUGH else ["daemon", "pty.fork"])
def test_each_process_has_its_own_also_if_the_first_is_attached(launch: Launcher, way: str) -> None:
    launch.script(HELPER, "helper.py")
    source = f"""
import os, pty, subprocess, sys, time
from helper import report, wait, work
while __name__ == "__main__" and not os.path.exists("go"): time.sleep(0.01)
{textwrap.dedent(WAYS[way])}"""
    env = {"PYTHONPATH": str(launch.home), "PYTHONWARNINGS": "ignore"}
    program = launch(source, env=env, cwd=launch.home)
    with program.client() as client:
        assert client.run("import os").status == "ok"
        (launch.home / "go").touch()
        pids = wait_for_reports(launch, 2)
        check_each_has_its_own(launch, program, pids, attached=True)
        other = Client(program.connection_file_of(pids["child"])).ready()
        try:
            assert other.value("__import__('os').getpid()") == pids["child"]
        finally:
            other.close()
        assert client.value("os.getpid()") == program.pid
        (launch.home / "stop").touch()
        assert program.wait() == 0, program.describe()
    assert program.stderr == ""


def test_a_fork_beside_clients_and_a_running_cell_starts_clean(launch: Launcher) -> None:
    launch.script(HELPER, "helper.py")
    program = launch(
        """
        import os, sys, time
        from helper import work, wait
        steps = 0
        while not os.path.exists("fork"):
            print("line", steps, flush=True)
            steps += 1
        pid = os.fork()
        if pid == 0:
            steps = -1
            work()
            os._exit(0)
        while not os.path.exists("stop"): steps += 1
        os.waitpid(pid, 0)
        """,
        env={"PYTHONPATH": str(launch.home), "PYTHONWARNINGS": "ignore"},
        cwd=launch.home,
    )
    with program.client() as first, program.client() as second:
        running = first.send("cell = 0\nwhile not os.path.exists('stop-cell'): cell += 1\n'over'")
        wait_for(lambda: first.iopub("execute_input"), "the cell to run")
        (launch.home / "fork").touch()
        child = wait_for_reports(launch, 1)["child"]
        parents = bound(launch, program.pid, also_connected=True)
        assert len(parents) > 5, "clients are connected"
        assert not parents & sockets_of(child)
        other = Client(program.connection_file_of(child)).ready()
        try:
            assert other.value("(steps, os.getpid())") == (-1, child)
            cell = other.value("globals().get('cell')")
            assert other.value("globals().get('cell')") == cell, "the cell goes on in the child"
            assert other.run("print('from the child')").stdout == "from the child\n"
        finally:
            other.close()
        (launch.home / "stop-cell").touch()
        assert first.finish(running).result == "'over'"
        before = second.value("steps")
        wait_for(lambda: second.value("steps") > before, "the program to go on")
        (launch.home / "stop").touch()
        assert program.wait() == 0
    assert program.stderr == ""


def test_children_of_an_attached_process_and_theirs_start_clean(launch: Launcher) -> None:
    launch.script(HELPER, "helper.py")
    program = launch(
        """
        import multiprocessing, os, sys, threading, time
        from concurrent.futures import ProcessPoolExecutor
        from helper import work
        # A child that was forked amid a print of another thread's waits, when it flushes, for the
        # lock of stdout's buffer, whose owner it has not: see docs/limits.md.
        between = threading.Lock()
        def flood():
            while not os.path.exists("stop"):
                with between:
                    for _ in range(10): print("line", flush=True)
                time.sleep(0.001)
        printing = threading.Thread(target=flood)
        printing.start()
        while not os.path.exists("fork"): time.sleep(0.01)
        context = multiprocessing.get_context("fork")
        with between:
            pool, executor = context.Pool(2), ProcessPoolExecutor(1, context)
            last = executor.submit(work, "executor")  # which forks
        with pool, executor:
            jobs = [pool.apply_async(work, [f"pool {n}"]) for n in range(2)]
            if os.fork() == 0:
                if os.fork() == 0:
                    work("grandchild")
                    os._exit(0)
                work("child")
                os.wait()
                os._exit(0)
            if os.fork() == 0:
                again = "import helper; helper.work('exec')"
                os.execv(sys.executable, [sys.executable, "-c", again])
            for job in jobs: job.get()
            last.result()
        printing.join()
        """,
        env={"PYTHONPATH": str(launch.home), "PYTHONWARNINGS": "ignore"},
        cwd=launch.home,
    )
    with program.client() as client:
        (launch.home / "fork").touch()
        pids = wait_for_reports(launch, 6)
        assert pids.keys() == {"pool 0", "pool 1", "executor", "child", "grandchild", "exec"}
        everybodys = {pid: bound(launch, pid, also_connected=True) for pid in pids.values()}
        everybodys[program.pid] = bound(launch, program.pid, also_connected=True)
        keys = {
            json.loads(program.connection_file_of(pid).read_text())["key"] for pid in everybodys
        }
        assert len(keys) == len(everybodys)
        for name, pid in pids.items():
            held = sockets_of(pid)
            assert everybodys[pid] <= held, name
            for other in everybodys.keys() - {pid}:
                assert not everybodys[other] & held, (name, other)
        for name in ("pool 1", "executor", "grandchild", "exec"):
            other = Client(program.connection_file_of(pids[name])).ready()
            try:
                assert other.value("__import__('os').getpid()") == pids[name]
            finally:
                other.close()
        assert client.value("os.getpid()") == program.pid
        stop(launch, program)


def test_threads_and_handlers_that_fork_at_once_have_clean_children(launch: Launcher) -> None:
    program = launch(
        """
        import collections, os, signal, threading, time, warnings
        warnings.simplefilter("ignore")  # of forks beside threads, which are this program's
        def sockets():
            found = set()
            for fd in os.listdir("/proc/self/fd"):
                try: target = os.readlink(f"/proc/self/fd/{fd}")
                except OSError: continue
                if target.startswith("socket:"): found.add(target)
            return found
        parents, results = sockets(), collections.Counter()
        runtime = os.path.expanduser("~/.local/share/jupyter/runtime")
        def fork(*_):
            pid = os.fork()
            if pid == 0:
                has_file = os.path.exists(f"{runtime}/kernel-rt-{os.getpid()}.json")
                os._exit(10 * has_file + bool(parents & sockets()))
            results[os.waitpid(pid, 0)[1] >> 8] += 1
        def forks():
            for _ in range(12): fork()
        threads = [threading.Thread(target=forks) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(dict(results), len(parents) >= 5, flush=True)
        results.clear()
        # within a fork, too
        over = False
        def handler(*_):
            fork()
            if not over: signal.setitimer(signal.ITIMER_REAL, 0.003)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        for _ in range(8): forks()
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(set(results), flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("}\n")
    assert program.stdout == "{10: 48} True\n{10}\n"
    with program.client() as client:
        assert client.value("len(parents)") >= 5
        (launch.home / "end").touch()
        assert (program.wait(), program.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a thread's start is no audit event")
def test_a_signal_handler_may_fork_while_the_console_returns_from_a_fork(launch: Launcher) -> None:
    program = launch(
        """
        import os, signal, sys, time
        def fork(*_):
            pid = os.fork()
            if pid == 0: os._exit(0)
            os.waitpid(pid, 0)
        me, handled = os.getpid(), []
        def see(event, _):
            if event == "_thread.start_new_thread" and os.getpid() == me and not handled:
                handled.append(signal.raise_signal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, fork)
        sys.addaudithook(see)
        fork()
        while not handled: time.sleep(0.01)
        print("forked", flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("forked\n")
    with program.client() as client:
        assert client.value("len(handled)") == 1
        (launch.home / "end").touch()
        assert (program.wait(), program.stderr) == (0, "")


def test_a_client_may_come_to_a_child_whose_at_fork_handlers_go_on(launch: Launcher) -> None:
    program = launch(
        """
        import os, time
        def late():
            while not os.path.exists("go") and os.getppid() == parent: time.sleep(0.01)
        os.register_at_fork(after_in_child=late)
        import threading  # its handler comes after that
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            while not os.path.exists("end") and os.getppid() == parent: time.sleep(0.01)
            os._exit(len(threading.enumerate()))
        print(child, flush=True)
        os._exit(os.waitpid(child, 0)[1] >> 8)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("\n")
    connection_file = program.connection_file_of(int(program.stdout))
    wait_for(connection_file.exists, "the child's console")
    client = Client(connection_file)
    try:
        client.kernel.kernel_info()
        # it must not run now; if it does, that is soon
        with contextlib.suppress(AssertionError):
            wait_for(lambda: "the kernel runs" in program.log, "the fault", patience=2)
        (launch.home / "go").touch()
        assert client.ready().value("len(threading.enumerate())") == 1
        (launch.home / "end").touch()
        assert (program.wait(), program.stderr) == (1, "")
    finally:
        client.close()


def test_a_parent_that_waits_for_its_second_child_can_be_looked_into(launch: Launcher) -> None:
    program = launch(
        """
        import os, time
        parent = os.getpid()
        for turn in range(2):
            if os.fork() == 0:
                print("forked", turn, flush=True)
                while turn and not os.path.exists("end") and os.getppid() == parent:
                    time.sleep(0.01)
                os._exit(0)
            os.wait()  # nothing of Python's in between
        """,
        cwd=launch.home,
    )
    program.wait_for_output("forked 1")
    with program.client() as client:
        assert client.value("turn") == 1
        (launch.home / "end").touch()
        assert (program.wait(), program.stderr) == (0, "")


FORKS = """
    import multiprocessing, os, pty, subprocess, sys, warnings
    warnings.simplefilter("always")
    def end(pid, fd=None):
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
        if fd is not None: os.close(fd)
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        end(os.fork())
        end(*pty.fork())
        child = context.Process(target=abs, args=[1]); child.start(); child.join()
        subprocess.run(["true"], preexec_fn=os.getpid)
        child = os.spawnvp(os.P_WAIT, "true", ["true"])
    def nested(depth):
        pid = os.fork()
        if pid == 0:
            if depth: nested(depth - 1)
            os._exit(0)
        os.waitpid(pid, 0)
    nested(5)
    print("done")
    """


def test_no_way_to_fork_warns_of_a_thread_in_a_dormant_process(launch: Launcher) -> None:
    program = launch(FORKS)
    assert (program.wait(), program.stdout, program.stderr) == (0, "done\n", "")
    folders = program.runtime_dir, launch.sockets
    assert [p for folder in folders for p in folder.rglob("*-*")] == []


def test_a_child_can_import_what_a_cell_was_importing(launch: Launcher) -> None:
    launch.script(HELPER, "helper.py")
    launch.script(
        """
        import os, time
        with open("importing", "w"): pass
        while not os.path.exists("imported"): time.sleep(0.01)
        done = True
        """,
        "slow.py",
    )
    program = launch(
        """
        import os, time
        from helper import work
        while not os.path.exists("importing"): time.sleep(0.01)
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        os.waitpid(pid, 0)
        """,
        env={"PYTHONPATH": str(launch.home), "PYTHONWARNINGS": "ignore"},
        cwd=launch.home,
    )
    with program.client() as client:
        running = client.send("import slow; slow.done")
        child = Client(program.connection_file_of(wait_for_reports(launch, 1)["child"])).ready()
        try:
            (launch.home / "imported").touch()
            assert child.run("import slow; slow.done").result == "True"
        finally:
            child.close()
        assert client.finish(running).result == "True"
        stop(launch, program)


@pytest.mark.parametrize("visited", [False, True])
def test_threads_that_fork_at_the_same_time(launch: Launcher, visited: bool) -> None:
    """Their at-fork handlers run interleaved; on 3.13 the thread is parked by a pending call."""
    program = launch(
        """
        import os, sys, threading, time
        codes, go = [], threading.Event()
        def fork():
            pid = os.fork()
            if pid == 0:
                time.sleep(0.01)
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        print("begins", flush=True)
        go.wait(0 if sys.argv[1] == "False" else 0.3)
        for _ in range(10):
            threads = [threading.Thread(target=fork) for _ in range(16)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        print(set(codes), len(codes), flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        str(visited),
        python=[sys.executable, "-W", "ignore::DeprecationWarning"],
        cwd=launch.home,
    )
    program.wait_for_output("begins")
    if visited:
        with program.client(ready=False) as early:
            early.kernel.kernel_info()
            program.wait_for_output("{7} 160")
    program.wait_for_output("{7} 160")
    with program.client() as client:
        assert client.value("len(codes)") == 160
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert program.stderr == ""


def test_threads_that_fork_while_a_boot_imports_logging(launch: Launcher) -> None:
    """Its hooks take a lock, and release it, which it uses itself when it is imported."""
    program = launch(
        """
        import os, sys, threading, time
        codes, go = [], threading.Event()
        def fork():
            go.wait()
            pid = os.fork()
            if pid == 0: os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        threads = [threading.Thread(target=fork) for _ in range(16)]
        for thread in threads: thread.start()
        print("begins", flush=True)
        logging = None
        while not hasattr(logging, "_at_fork_reinit_lock_weakset"):  # just before its hooks
            logging = sys.modules.get("logging")
        go.set()
        for thread in threads: thread.join()
        print(set(codes), len(codes), flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        """,
        python=[sys.executable, "-W", "ignore::DeprecationWarning"],
        cwd=launch.home,
    )
    program.wait_for_output("begins")
    with program.client() as client:
        program.wait_for_output("{7} 16")
        assert client.value("logging.getLogger().name") == "root"
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert program.stderr == ""


@pytest.mark.parametrize("visited", ["neither", "parent", "child"])
def test_a_child_that_a_thread_forked_ends_with_that_thread(launch: Launcher, visited: str) -> None:
    """No interpreter ends then, nor is there a call of exit: its last thread is gone."""
    program = launch(
        """
        import os, sys, threading, time
        def wait(name):
            while not os.path.exists(name): time.sleep(0.01)
        def fork():
            global child
            child = os.fork()
            if child == 0:
                wait("child")
                sys.exit(3)  # of the thread
            print("forked", child, flush=True)
            print("ended", os.waitpid(child, 0)[1], flush=True)
        wait("parent")
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """,
        python=[sys.executable, "-W", "ignore::DeprecationWarning"],
        cwd=launch.home,
    )
    clients = []
    try:
        if visited == "parent":
            clients.append(Client(program.connection_file).ready())
        (launch.home / "parent").touch()
        program.wait_for_output("\n")
        child = program.connection_file_of(int(program.stdout.split()[1]))
        wait_for(child.exists, "the child's console")
        if visited == "child":
            clients.append(Client(child).ready())
        (launch.home / "child").touch()
        program.wait_for_output("ended 0")
        assert program.wait() == 0
        assert not child.exists()
    finally:
        (launch.home / "child").touch()
        for client in clients:
            client.close()


def test_forks_that_hold_a_boot_together_let_go_of_it_when_both_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = listener.Listener("program")
    console.state = listener.BOOTING
    monkeypatch.setattr(listener, "current", console)
    held = threading.Barrier(3)

    def fork(go: threading.Event) -> None:
        forks.hold_imports(console)
        held.wait(PATIENCE)
        go.wait(PATIENCE)
        forks.at_fork("after in parent", None)

    console.gate.acquire()  # an import of the boot is under way
    events = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=fork, args=(go,)) for go in events]
    for thread in threads:
        thread.start()
    console.gate.release()
    held.wait(PATIENCE)
    for go, thread in zip(events, threads, strict=True):
        assert console.gate.locked()
        go.set()
        thread.join()
    assert not console.gate.locked()


def test_a_childs_console_leaves_the_parents_sockets_blocking(launch: Launcher) -> None:
    program = launch(
        """
        import os, socket
        server = socket.create_server(("127.0.0.1", 0))
        waits = os.get_blocking(server.fileno())
        def blocking_after_a_fork():
            socket.setdefaulttimeout(1.0)  # what every socket made from now on has
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            socket.setdefaulttimeout(None)
            return os.get_blocking(server.fileno())
        go = None
        while go is None: __import__("time").sleep(0.01)
        print(waits, blocking_after_a_fork(), flush=True)
        while True: __import__("time").sleep(0.01)
        """
    )
    with program.client() as client:  # beside a kernel the child looks at all sockets
        client.run("go = True")
        program.wait_for_output("True ")
    assert program.stdout == "True True\n"


# No at-fork handler is called in the child, as in uWSGI's workers.
C_FORK = """
import ctypes, os, sys, threading, time

def take_stacks():
    # of the threads that are not here: once unused, these are more than the C library keeps
    enough = threading.Barrier(9)
    threads = [threading.Thread(target=enough.wait) for _ in range(8)]
    for thread in threads: thread.start()
    enough.wait()
    for thread in threads: thread.join()

def c_fork():
    pid = ctypes.PyDLL(None).fork()
    if not pid: take_stacks()
    return pid
"""


def test_a_child_that_c_forked_can_look_at_the_frames_of_all_threads(launch: Launcher) -> None:
    program = launch(
        C_FORK
        + """
if not (pid := c_fork()):
    for frame in sys._current_frames().values():
        while frame is not None: frame = frame.f_back
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert program.wait() == 0
    assert program.stdout == "0\n", program.describe()


def test_a_child_that_c_forked_beside_a_kernel_can_be_looked_into(launch: Launcher) -> None:
    program = launch(
        C_FORK
        + """
parent, stop = os.getpid(), False
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
if child := c_fork():
    print(child, flush=True)
else:
    from rtconsole import start_console
    start_console()
while not stop and (child or os.getppid() == parent): time.sleep(0.01)
child or os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
        str(flag := launch.home / "flag"),
    )

    with program.client() as client:
        assert client.run("child = None").status == "ok"
        wait_for(program.rests, "a kernel at rest")  # a lock held at such a fork is held for ever
        flag.touch()
        program.wait_for_output("\n")
        path = program.connection_file_of(int(program.stdout))
        wait_for(path.exists, "the child's file")
        other = Client(path)
        try:
            assert other.ready().value("child") == 0
            seen = {thread["name"] for thread in other.control("stack_request")["threads"]}
            assert seen == {"Control", *(["MainThread"] if sys.version_info >= (3, 13) else [])}
            other.send("stop = True")
            client.send("stop = True")
            assert program.wait() == 0
        finally:
            other.close()
    assert program.stdout.endswith("\n0\n"), program.describe()


@pytest.mark.parametrize(("first", "forks"), [(3, 2), (5, 2), (9, 0)])
def test_a_program_that_closes_descriptors_and_forks_at_once_stays_dormant(
    launch: Launcher, first: int, forks: int
) -> None:
    """What it opens then has the numbers that were ours, and is readable: nobody connects there."""
    launch.script(HELPER, "helper.py")
    source = f"""
        import fcntl, os, sys
        from helper import report, wait
        own = []
        for _ in range(6):
            end, other = os.pipe()
            os.write(other, b"x")
            own.append(fcntl.fcntl(end, fcntl.F_DUPFD, 70))
        os.closerange({first}, 64)  # five sockets and two ends of a pipe, from 3 on
        for end in own * 2: os.dup(end)  # readable from the first moment
        for number in range({forks}):  # within the second that it is left alone
            if os.fork() == 0:
                report(f"child {{number}}")
                wait()
                os._exit(0)
        report("parent")
        wait()
        print([os.read(end, 9) for end in own])
        for _ in range({forks}): os.wait()
        """
    program = launch(source, env={"PYTHONPATH": str(launch.home)})
    pids = list(wait_for_reports(launch, 1 + forks).values())
    for pid in pids:
        wait_for(lambda pid=pid: len(bound(launch, pid) & sockets_of(pid)) == 5, "its sockets")
    wait_for(program.rests, "its threads to wait")  # a boot does not
    assert program.info["rtconsole"]["status"].startswith("dormant"), program.describe()
    for pid in pids:
        client = Client(program.connection_file_of(pid))
        try:
            assert client.ready().value("__import__('os').getpid()") == pid
        finally:
            client.close()
    stop(launch, program)
    assert program.stdout == f"{[b'x'] * 6}\n"


def test_a_lock_of_a_module_that_is_imported_while_a_fork_waits_is_not_released_twice(
    launch: Launcher,
) -> None:
    """As by a boot, between whose imports a fork waits: its hooks are registered amid the fork."""
    program = launch("""
        import os, sys, threading, time, warnings
        warnings.simplefilter("ignore")  # of a fork beside a thread
        from rtconsole import forks, lifecycle, listener
        boot = listener.current
        assert lifecycle.unpark(boot) and "concurrent.futures.thread" not in sys.modules
        boot.state = listener.BOOTING
        forks.hold_imports_first()
        boot.gate.acquire()

        def imports():
            while not forks._at_gate: time.sleep(0.001)
            import concurrent.futures.thread
            boot.gate.release()

        thread = threading.Thread(target=imports)
        thread.start()
        for _ in range(2):
            if os.fork() == 0: os._exit(0)
            os.wait()
        thread.join()
        lock = sys.modules["concurrent.futures.thread"]._global_shutdown_lock
        print(lock.acquire(timeout=5), flush=True)
        os._exit(0)
        """)
    assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("True\n", "")


TO_EXEC = """
import os, subprocess, time
while not os.path.exists("go"): time.sleep(0.005)

def look():
    os.write(1, b"%d thread\\n" % len(os.listdir("/proc/self/task")))

child = subprocess.Popen(["sleep", "60"], preexec_fn=look)
print("executes", child.pid, flush=True)
while os.path.exists("go"): time.sleep(0.005)
child.kill()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("state", ["dormant", "attached"])
def test_a_child_of_subprocess_is_alone_before_it_executes_and_leaves_no_file_to_what_it_does(
    launch: Launcher, state: str
) -> None:
    program = launch(TO_EXEC, cwd=launch.home)
    with alike.in_state(launch, program, state):
        program.wait_for_output("executes")
        assert program.stdout.startswith("1 thread\n"), program.describe()
        pid = int(program.stdout.split()[-1])
        assert not program.connection_file_of(pid).exists()
        assert {name.split("-")[0] for name in os.listdir(launch.sockets / "rtconsole")} == {
            str(program.pid)
        }
    assert program.wait() == 0, program.describe()
