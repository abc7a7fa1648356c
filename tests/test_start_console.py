"""``start_console``: a console by a call, at module level, in a function, on any dict."""

import os
import subprocess
import sys

import pytest
from harness import Launcher, Program, wait_for


def console_of(program: Program) -> None:
    wait_for(lambda: "ready" in program.stdout or not program.is_running(), "the call")
    assert program.is_running(), program.describe()


@pytest.mark.parametrize("on", ["0", "1"])
@pytest.mark.parametrize("call", ["start_console(locals())", "start_console()"])
def test_at_module_level_cells_run_in_the_module(launch: Launcher, call: str, on: str) -> None:
    program = launch(
        f"""
        import time
        from rtconsole import start_console
        t = 0
        def hello(x): return x + 1
        console = {call}
        print("ready", console.connection_file, flush=True)
        while True:
            t = hello(t)
            time.sleep(0.01)
        """,
        env={"RTCONSOLE": on},
    )
    console_of(program)
    assert program.stdout.split()[1] == str(program.connection_file)
    with program.client() as client:
        first = client.value("t")
        wait_for(lambda: client.value("t") > first, "t to change")
        client.run("hello = lambda x: t + 1000")
        wait_for(lambda: client.value("t") > 1000, "the new function to be used")
        assert client.run("start_console() is console").result == "True"
        shown = f"<rtconsole.Console {program.connection_file}>"
        assert client.run("console").result == shown


@pytest.mark.parametrize("call", ["start_console(locals())", "start_console()"])
def test_in_a_function_cells_and_their_functions_see_its_variables(
    launch: Launcher, call: str
) -> None:
    program = launch(
        f"""
        import time
        from rtconsole import start_console
        module_level = "m"
        def main(argument):
            t, stop = 0, False
            {call}
            print("ready", flush=True)
            while not stop:
                t += 1
                time.sleep(0.01)
            print("stopped", flush=True)
        main("a")
        """,
        env={"RTCONSOLE": None},
    )
    console_of(program)
    with program.client() as client:
        first = client.value("t")
        wait_for(lambda: client.value("t") > first, "t to change")
        assert client.run("argument, module_level").result == "('a', 'm')"
        reply = client.run("(lambda: (argument, t > 0, module_level))()")
        assert reply.result == "('a', True, 'm')"
        assert client.run("[argument for _ in range(2)]").result == "['a', 'a']"
        client.run(
            """
            def f():
                global module_level
                module_level = argument + later
                return 1
            """
        )
        client.run("later = 'l'")
        assert client.run("f(), module_level").result == "(1, 'al')"
        assert client.run("class C:\n    x = argument\nC.x").result == "'a'"
        assert client.run("'later' in globals()").result == "False"
        assert client.run("(lambda: nothing)()").error == "NameError"
        if sys.version_info >= (3, 13):
            client.send("stop = True")
            assert program.wait() == 0
            assert "stopped" in program.stdout
        else:
            client.run("stop = True")
            assert client.run("stop").result == "True"


def test_any_dict_may_be_the_namespace(launch: Launcher) -> None:
    program = launch(
        """
        import time
        from rtconsole import start_console
        names = {"a": 1}
        def main():
            start_console(namespace=names)
            print("ready", flush=True)
            while "done" not in names: time.sleep(0.01)
            print(sorted(names))
        main()
        """,
        env={"RTCONSOLE": None},
    )
    console_of(program)
    with program.client() as client:
        assert client.run("a").result == "1"
        client.run("def f():\n    return a + b\nb = 2")
        assert client.run("f()").result == "3"
        assert client.run("main").error == "NameError"
        client.send("done = 1")
        assert program.wait() == 0
    assert program.stdout == "ready\n['a', 'b', 'done', 'f']\n"


@pytest.mark.parametrize("wrong", ["3", "'name'", "[1]", "namespace=3"])
def test_what_is_no_dict_is_a_type_error_that_says_what_is_expected(
    launch: Launcher, wrong: str
) -> None:
    program = launch(
        f"from rtconsole import start_console\nstart_console({wrong})", env={"RTCONSOLE": None}
    )
    assert program.wait() == 1
    assert "TypeError: start_console() takes a dict of names" in program.stderr


@pytest.mark.parametrize("attach", [False, True])
def test_stop_closes_the_console_and_it_can_be_started_again(
    launch: Launcher, attach: bool
) -> None:
    program = launch(
        """
        import os, threading, time
        from rtconsole import start_console, stop_console
        def state(): return (len(os.listdir("/proc/self/fd")), threading.active_count())
        before = state()
        console = start_console()
        print("ready", flush=True)
        while not os.path.exists("stop"): time.sleep(0.01)
        path = console.connection_file
        console.stop()
        console.stop()
        end = time.monotonic() + 20
        while state()[0] > before[0] + 6 and time.monotonic() < end:  # libzmq closes in its time
            time.sleep(0.01)
        print(os.path.exists(path), state(), before, flush=True)
        again = start_console()
        print("again", flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        stop_console()
        """,
        env={"RTCONSOLE": None},
        cwd=launch.home,
    )
    console_of(program)
    if attach:
        with program.client() as client:
            assert client.run("1").result == "1"
            (launch.home / "stop").touch()
            assert client.iopub("shutdown_reply")
            program.wait_for_output("again")
    (launch.home / "stop").touch()
    program.wait_for_output("again")
    line = program.stdout.splitlines()[1]
    exists, now, before = eval(line.replace(" ", ",", 1).replace(") (", "), ("))
    assert exists is False
    assert now[1] == before[1], "a thread is left"
    assert now[0] <= before[0] + (6 if attach else 0), "descriptors are left"
    with program.client() as client:
        assert client.run("1 + 1").result == "2"
    (launch.home / "end").touch()
    assert program.wait() == 0
    assert program.stderr == ""
    assert not list(launch.sockets.rglob("*-*"))


def test_a_console_that_was_stopped_leaves_no_thread_or_descriptor(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import gc, os, sys, time
        from rtconsole import start_console, stop_console

        def there_is():
            # newer versions of libffi keep their own file open once there was a callback
            paths = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
            opened = [path for path in paths if "libffi" not in path]
            return [len(os.listdir("/proc/self/task")), len(opened)]

        before = there_is()
        start_console(globals())
        print("ready", flush=True)
        sys.stdin.readline()
        stop_console()
        deadline = time.monotonic() + 20
        while there_is() != before and time.monotonic() < deadline:  # its thread is about to end
            time.sleep(0.001)
        print(before, there_is())
        gc.collect()
        """,
        env={"RTCONSOLE": "0", "PYTHONDEVMODE": "1"},
        stdin=subprocess.PIPE,
    )
    console_of(program)
    with program.client() as client:
        assert client.run("there_is()").status == "ok"
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert program.wait() == 0
    before, _, after = program.stdout.splitlines()[1].partition("] ")
    assert before + "]" == after, program.stdout
    assert program.stderr == ""


def test_a_cell_that_awaits_ends_with_the_console(launch: Launcher) -> None:
    """Not when it is collected, without a loop: that would be told on the program's stderr."""
    program = launch(
        """
        import gc, os, sys, time
        from rtconsole import stop_console
        while not os.path.exists("stop"):
            time.sleep(0.005)
        stop_console()
        print(os.path.exists("ended"), flush=True)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.send(
            "import asyncio, pathlib\n"
            "try:\n  pathlib.Path('runs').touch()\n  await asyncio.sleep(1000)\n"
            "finally:\n  pathlib.Path('ended').touch()\n  await asyncio.sleep(1)"
        )
        wait_for((launch.home / "runs").exists, "the cell")
        client.send("1")  # it waits for its turn
        (launch.home / "stop").touch()
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("True\n", "")


def test_a_task_that_begins_as_the_loop_is_closed_ends_with_it(launch: Launcher) -> None:
    """As a request's does, which is read when a cell that awaits on gives its turn."""
    program = launch(
        """
        import asyncio
        from rtconsole.kernel.loops import Loop
        async def request():
            pass
        async def cell():
            try:
                await asyncio.sleep(1000)
            finally:
                asyncio.ensure_future(request())
                await asyncio.sleep(1)
        loop = Loop()
        task = loop.create_task(cell())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        """,
        env={"RTCONSOLE": None},
    )
    assert program.wait() == 0, program.describe()
    assert program.stderr == ""


def test_a_console_can_be_stopped_from_a_cell(counter: Program) -> None:
    with counter.client() as client:
        client.send("from rtconsole import stop_console; stop_console()")
        path = counter.connection_file_of(counter.pid)
        wait_for(lambda: not path.exists(), "the file to go")
    assert counter.is_running()
    assert counter.stderr == ""


def test_a_console_that_is_closed_while_its_kernel_is_built_has_none(launch: Launcher) -> None:
    folder = launch.home / ".ipython/profile_closing"
    (folder / "startup").mkdir(parents=True)
    (folder / "startup/10.py").write_text("import rtconsole; rtconsole.stop_console()")
    program = launch(
        """
        import sys, time
        while "rtconsole.kernel.boot" not in sys.modules: time.sleep(0.01)
        import threading
        def kernels():
            from rtconsole.kernel import hidden
            return [each for each in hidden.ours() if "rtconsole" in each.name]
        while not kernels(): time.sleep(0.01)
        while kernels(): time.sleep(0.01)
        """,
        env={"RTCONSOLE_PROFILE": "closing", "RTCONSOLE_EAGER": "1"},
    )
    assert (program.wait(), program.stdout, program.stderr) == (0, "", "")
    assert "the kernel runs" not in program.log


def test_a_fork_waits_for_an_import_of_a_boot_whose_console_was_closed(launch: Launcher) -> None:
    program = launch(
        """
        import os, socket, sys, threading
        from rtconsole import listener, start_console, stop_console
        imports, goes_on = threading.Event(), threading.Event()
        def hold(event, arguments):
            if event == "import" and arguments[0] == "rtconsole.waking":
                imports.set()
                goes_on.wait()
        start_console()
        info = listener.current.info
        sys.addaudithook(hold)
        ring = socket.socket(socket.AF_UNIX)
        ring.connect(f"{info['ip']}-{info['shell_port']}")
        imports.wait()
        stop_console()
        threading.Timer(0.5, goes_on.set).start()
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if goes_on.is_set() else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        env={"RTCONSOLE": "0"},
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout == "0\n0\n"


def test_the_end_of_the_program_stops_the_boot_of_a_console_that_was_closed(
    launch: Launcher,
) -> None:
    """By its gate, which is held around each import: one that goes on at the end may crash it."""
    program = launch(
        """
        import atexit, os, socket, sys, threading, time
        from rtconsole import listener, start_console, stop_console
        class Gate:  # as the lock that it is, and tells who takes it
            def __init__(self, lock): self.lock = lock
            def acquire(self, *arguments, **options):
                if threading.current_thread() is threading.main_thread(): taken.append("gate")
                return self.lock.acquire(*arguments, **options)
            def release(self): self.lock.release()
            def __enter__(self): self.acquire()
            def __exit__(self, *_): self.release()
        taken, imports = [], threading.Event()
        def hold(event, arguments):
            if event == "import" and arguments[0] == "rtconsole.waking":
                imports.set()
                while True: time.sleep(0.01)
        atexit.register(lambda: print(taken))  # called after the console's own
        start_console()
        console = listener.current
        console.gate = Gate(console.gate)
        sys.addaudithook(hold)
        ring = socket.socket(socket.AF_UNIX)
        ring.connect(f"{console.info['ip']}-{console.info['shell_port']}")
        imports.wait()
        stop_console()
        taken.clear()
        """,
        env={"RTCONSOLE": "0"},
    )
    assert program.wait() == 0, program.describe()
    assert program.stdout.startswith("['gate'")
    assert program.stderr == ""


def test_a_console_that_cannot_be_made_says_why(launch: Launcher) -> None:
    (launch.home / "file").write_text("")
    program = launch(
        "from rtconsole import start_console\nstart_console()",
        env={
            "RTCONSOLE": None,
            "XDG_RUNTIME_DIR": None,
            "TMPDIR": str(launch.home / "file"),
            "HOME": str(launch.home / "file"),
        },
    )
    assert program.wait() == 1
    assert "Error" in program.stderr.splitlines()[-1]
    assert str(launch.home / "file") in program.stderr.splitlines()[-1]


def test_importing_the_package_costs_and_starts_nothing(launch: Launcher) -> None:
    source = """
        import sys, threading
        before = set(sys.modules)
        import rtconsole
        print(sorted(set(sys.modules) - before), threading.active_count())
        print([name for name in dir(rtconsole) if not name.startswith("_")])
        """
    program = launch(source, env={"RTCONSOLE": None})
    assert program.wait() == 0
    assert program.stdout == "['rtconsole'] 1\n['Console', 'start_console', 'stop_console']\n"
    assert os.environ.get("RTCONSOLE") is None
