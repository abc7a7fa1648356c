"""Programs with habits of their own: signals, their own IPython, modules named like ours."""

import signal
import socket
import sys
import time

import pytest
from harness import Launcher, wait_for


def test_a_signal_that_the_program_waits_for_is_never_ours(launch: Launcher) -> None:
    program = launch(
        """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        print("blocked", flush=True)
        got = 0
        while got < 200:
            print(signal.sigwait([signal.SIGUSR1]), flush=True)
            got += 1
        """
    )
    program.wait_for_output("blocked\n")
    with program.client() as client:
        client.run("import subprocess, os")
        client.send("while True: subprocess.run('true')")
        for sent in range(1, 201):
            program.signal(signal.SIGUSR1)
            wait_for(lambda sent=sent: len(program.stdout.split()) > sent, "the signal")
    assert program.wait() == 0
    assert program.stdout.split() == ["blocked", *[str(int(signal.SIGUSR1))] * 200]


def test_a_program_that_is_ipython_itself_has_a_console_beside_it(launch: Launcher) -> None:
    program = launch(
        """
        import sys, threading, time
        from IPython.core.interactiveshell import InteractiveShell
        own = InteractiveShell.instance(user_module=sys.modules["__main__"])
        own.user_ns["mark"] = "the program's"
        from IPython import get_ipython as ask
        def same(): return ask() is own
        results = []
        while True:
            results.append(same())
            time.sleep(0.001)
        """
    )
    with program.client() as client:
        wait_for(lambda: client.run("results").status == "ok", "the program")
        assert client.run("ask() is own, get_ipython() is own").result == "(False, False)"
        assert client.run("print('to the client')").stdout == "to the client\n"
        assert "results" in client.run("%who").stdout
        client.run("import time; time.sleep(0.2)")
        assert client.value("all(results)") is True


def test_a_program_that_is_a_kernel_itself_has_a_console_beside_it(launch: Launcher) -> None:
    program = launch(None, "-m", "ipykernel_launcher", "-f", str(launch.home / "own.json"))
    own = launch.home / "own.json"
    wait_for(lambda: own.exists() and own.read_text().endswith("}"), "the program's own kernel")
    with program.client() as client:
        from harness import Client

        theirs = Client(own)
        try:
            theirs.ready()
            assert theirs.run("x = 6 * 7").status == "ok"
            assert client.run("print('ours')").stdout == "ours\n"
            assert theirs.run("print('theirs')").stdout == "theirs\n"
            assert theirs.run("x").result == "42"
            assert (
                client.run("get_ipython().kernel.banner.startswith('rtconsole')").result == "True"
            )
            assert theirs.run("print(get_ipython().kernel.implementation)").stdout == "ipython\n"
            assert theirs.run("1/0").error == "ZeroDivisionError"
            assert client.run("1/0").error == "ZeroDivisionError"
        finally:
            theirs.close()


SHADOWS = ("comm", "queue", "zmq", "traitlets", "decorator", "bisect", "pygments")


@pytest.mark.parametrize("imported", [[], ["comm"], ["comm", "traitlets", "decorator"]])
def test_modules_named_like_ours_are_the_programs(launch: Launcher, imported: list[str]) -> None:
    for name in SHADOWS:
        launch.script(
            f"""
            import sys
            sys._imported = getattr(sys, "_imported", []) + [{name!r}]
            own = True
            """,
            f"{name}.py",
        )
    program = launch(
        f"""
        import sys, time
        for name in {imported}:
            __import__(name)
        print("imported", flush=True)
        while True: time.sleep(0.01)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("imported")
    with program.client() as client:
        client.run("import sys")
        assert client.value("getattr(sys, '_imported', [])") == imported
        assert client.run("[1/0]").error == "ZeroDivisionError"
        assert client.run("%timeit -n1 -r1 pass").status == "ok"
        assert client.run("!true").status == "ok"
        assert client.shell_reply(client.kernel.complete("sy"))["matches"]
        assert client.value("getattr(sys, '_imported', [])") == imported
        for name in SHADOWS:
            assert client.run(f"import {name}; {name}.own").result == "True", name


def test_a_program_without_ipykernel_tells_the_client_why(launch: Launcher) -> None:
    launch.script("raise ImportError('this one is broken')", "site-packages/ipykernel/__init__.py")
    program = launch(
        "import time, sys\nprint('runs', flush=True)\nwhile True: time.sleep(0.01)",
        env={"PYTHONPATH": str(launch.home / "site-packages")},
    )
    with program.client() as client:
        reply = client.run("1 + 1")
        assert reply.status == "error"
        assert "this one is broken" in reply.traceback
        assert client.control("shutdown_request", restart=False)["status"] == "ok"
        with program.client() as another:
            info = another.shell_reply(another.kernel.kernel_info())
            assert "this one is broken" in info["banner"]
    assert program.is_running()
    assert (program.stdout, program.stderr) == ("runs\n", "")
    assert sys.executable in reply.traceback


def test_a_sub_interpreter_gets_no_console_and_the_main_one_keeps_its(launch: Launcher) -> None:
    program = launch("""
        import time
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        for _ in range(3):
            one = interpreters.create()
            interpreters.run_string(one, "import sys; x = 1")
            interpreters.destroy(one)
        print("destroyed", flush=True)
        t = 42
        time.sleep(60)
    """)
    program.wait_for_output("destroyed")
    with program.client() as client:
        assert client.value("t") == 42
    assert program.stderr == ""


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="start-up files import importlib there")
def test_the_import_system_is_not_loaded_a_second_time(launch: Launcher) -> None:
    """As a thread does that imports a module of ``importlib`` while another imports that itself."""
    program = launch(
        """
        import os, sys, time

        def trace(frame, event, _):
            if frame.f_code.co_filename.endswith(("importlib/__init__.py", "importlib>")):
                if not os.path.exists("amid"):
                    open("amid", "x").close()
                    deadline = time.monotonic() + 20
                    while "importlib.machinery" not in sys.modules and time.monotonic() < deadline:
                        time.sleep(0.001)
                return trace

        while not os.path.exists("go"):
            time.sleep(0.001)
        assert "importlib" not in sys.modules
        sys.settrace(trace)
        import importlib
        sys.settrace(None)
        while not os.path.exists("end"):
            time.sleep(0.001)
        print(importlib._bootstrap is sys.modules["_frozen_importlib"], flush=True)
        importlib.import_module("this")
        """,
        cwd=launch.home,
    )
    (launch.home / "go").touch()
    wait_for((launch.home / "amid").exists, "the import")
    with program.client() as client:
        assert client.run("6 * 7").result == "42"
    (launch.home / "end").touch()
    assert program.wait() == 0, program.describe()
    assert program.stdout.startswith("True\nThe Zen"), program.stdout
    assert program.stderr == ""


def test_a_client_that_comes_at_once_leaves_the_programs_imports_alone(launch: Launcher) -> None:
    """Two threads that import the same modules may each wait for what the other has."""
    source = """
        import selectors, subprocess, logging.config, concurrent.futures, email.message
        import http.client, asyncio, multiprocessing.pool, unittest.mock, traitlets, tornado.web
        import zmq, jupyter_client, IPython, time
        print("imported", flush=True)
        time.sleep(60)
    """
    for number in range(24):
        program = launch(source)
        info = program.info
        time.sleep(0.01 * (number % 12))  # when does not matter, but it is to be another moment
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{info['ip']}-{info['shell_port']}")
            program.wait_for_output("imported")
        program.stop()
        assert program.stderr == ""
