"""A console in a running program: its names, its output, its errors."""

import os
import sys
import textwrap
from importlib.util import find_spec

import pytest
from harness import Launcher, Program, wait_for

# Tells whether it has the context of the cell.
THREAD = """
import contextvars, threading
number = contextvars.ContextVar("number", default=1)
_ = number.set(2)
work = lambda: print("from a thread", number.get(), flush=True)
thread = threading.Thread(target=work)
thread.start(); thread.join()
"""


def test_names_are_the_programs_and_live(counter: Program) -> None:
    with counter.client() as client:
        first = client.value("t")
        wait_for(lambda: client.value("t") > first, "t to change")
        assert client.run("(t, s)").result != client.run("s").result


def test_a_name_is_unknown_until_the_program_sets_it(launch: Launcher) -> None:
    os.mkfifo(launch.home / "go")
    program = launch(
        """
        import time
        open("go").read()
        t = 42
        time.sleep(60)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        assert client.run("t").error == "NameError"
        (launch.home / "go").write_text("go")
        wait_for(lambda: client.run("t").result == "42", "t to be set")


def test_the_program_uses_a_redefined_function(counter: Program) -> None:
    with counter.client() as client:
        assert client.run("hello = lambda x: -1").status == "ok"
        wait_for(lambda: client.value("s") == -1, "the program to call the new function")


def test_a_function_typed_into_a_cell_finds_the_programs_globals(counter: Program) -> None:
    with counter.client() as client:
        client.run("hello = lambda x: t + 1000000")
        wait_for(lambda: client.value("s") > 1000000, "the program to call it")
        client.run("def f(): global z; z = t; return z")
        assert client.value("f() == z and isinstance(z, int)") is True
        assert client.value("sorted(k for k in globals() if k in ('f', 'z'))") == ["f", "z"]


def test_help_shows_docstring_and_source_as_they_are_now(counter: Program) -> None:
    with counter.client() as client:
        shown = client.run("hello?").payload[0]["data"]["text/plain"]
        assert "Return what comes after x." in shown
        assert (
            "Return what comes after x." in client.run("hello??").payload[0]["data"]["text/plain"]
        )
        assert "examples/counter.py" in shown
        client.run("hello = lambda x: x+5  # typed")
        assert "# typed" in client.run("hello??").payload[0]["data"]["text/plain"]


def test_output_of_a_cell_goes_to_the_client_and_not_to_the_program(counter: Program) -> None:
    with counter.client() as client:
        reply = client.run("import sys; print('to you'); print('and this', file=sys.stderr)")
        assert (reply.stdout, reply.stderr) == ("to you\n", "and this\n")
        assert client.run("print(end='no newline')").stdout == "no newline"
        assert client.run("print('\\udc80 \\0 \\x1b[1m')").stdout == "\\udc80 \0 \x1b[1m\n"
        assert client.run("sys.stdout.write(3)").error == "TypeError"
    counter.stop()
    assert (counter.stdout, counter.stderr) == ("", "")


def test_a_thread_started_by_a_cell_prints_where_the_program_does(counter: Program) -> None:
    with counter.client() as client:
        assert client.run(THREAD).stdout == ""
        counter.wait_for_output("from a thread 1\n")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads inherit no context")
def test_so_does_one_that_inherits_the_cells_context(launch: Launcher) -> None:
    options = [sys.executable, "-X", "thread_inherit_context=1"]
    program = launch("import time\nwhile True: time.sleep(0.1)", python=options)
    with program.client() as client:
        assert client.run(THREAD).stdout == ""
        program.wait_for_output("from a thread 2\n")


@pytest.mark.parametrize("replacement", ["None", "io.StringIO()", "Slots()"])
def test_a_cell_prints_to_the_client_whatever_the_programs_stdout_is(
    launch: Launcher, replacement: str
) -> None:
    program = launch(
        f"""
        import io, sys, time
        class Slots:
            __slots__ = ()
            def write(self, text): return len(text)
            def flush(self): pass
        stdout = sys.stdout = {replacement}
        while True:
            as_found = sys.stdout is stdout and not getattr(stdout, "__dict__", None)
            print(as_found, file=sys.stderr)
            time.sleep(0.001)
        """
    )
    with program.client() as client:
        wait_for(lambda: client.run("as_found").status == "ok", "the program to get there")
        assert client.run("print('hello')").stdout == "hello\n"
    wait_for(lambda: program.stderr.endswith("True\n"), "the stream to be as it was found")


def test_a_large_output_arrives_whole_and_before_the_reply(counter: Program) -> None:
    with counter.client() as client:
        assert client.run("print('x' * 3_000_000)").stdout == "x" * 3_000_000 + "\n"
        reply = client.run("for i in range(20_000): print(i)")
        assert reply.stdout.split() == [str(i) for i in range(20_000)]


def test_a_traceback_shows_the_source_of_the_cell_and_of_the_program(counter: Program) -> None:
    with counter.client() as client:
        reply = client.run("def oops():\n    return hello(None)  # here\noops()")
        assert reply.error == "TypeError"
        for expected in ("# here", "counter.py", "x"):
            assert expected in reply.traceback
        assert "rtconsole" not in reply.traceback
        reply = client.run("1 +")
        assert reply.error == "SyntaxError"


def test_top_level_await_runs_and_prints_in_its_cell(counter: Program) -> None:
    with counter.client() as client:
        reply = client.run(
            """
            import asyncio
            async def speak():
                await asyncio.sleep(0.01)
                print("awaited")
                return 7
            await asyncio.gather(speak(), asyncio.create_task(speak()))
            """
        )
        assert reply.stdout == "awaited\nawaited\n"
        assert reply.result == "[7, 7]"


def test_rich_display_and_clearing(counter: Program) -> None:
    with counter.client() as client:
        reply = client.run("from IPython.display import HTML; HTML('<b>bold</b>')")
        (message,) = [m for m in reply.messages if m["msg_type"] == "execute_result"]
        assert message["content"]["data"]["text/html"] == "<b>bold</b>"
        reply = client.run("display(HTML('<i>')); from IPython.display import display as d; d(1)")
        kinds = [m["msg_type"] for m in reply.messages]
        assert kinds.count("display_data") == 2


def test_completion_and_inspection_know_the_programs_names(counter: Program) -> None:
    with counter.client() as client:
        content = client.shell_reply(client.kernel.complete("hel"))
        assert "hello" in content["matches"]
        content = client.shell_reply(client.kernel.complete("time.sl"))
        assert any(match.endswith("sleep") for match in content["matches"])
        content = client.shell_reply(client.kernel.inspect("hello", 5, 1))
        assert "counter.py" in content["data"]["text/plain"]
        content = client.shell_reply(client.kernel.is_complete("def f():"))
        assert content["status"] == "incomplete"


def test_history_of_the_session_is_kept_in_memory(counter: Program) -> None:
    with counter.client() as client:
        client.run("first = 1")
        client.run("second = 2")
        history = client.shell_reply(client.kernel.history(hist_access_type="tail", n=2))["history"]
        assert [line[2] for line in history] == ["first = 1", "second = 2"]
        history = client.shell_reply(
            client.kernel.history(hist_access_type="search", pattern="sec*")
        )["history"]
        assert [line[2] for line in history] == ["second = 2"]
        assert client.run("In[1]").result == "'first = 1'"
        assert "first = 1" in client.run("%history").stdout
    assert not list(counter.home.rglob("*.sqlite")), "a database in the user's home"
    assert not (counter.home / ".ipython").exists()


def test_input_in_a_cell_asks_the_client(launch: Launcher) -> None:
    (launch.home / "in").write_text("the program's own line\n")
    program = launch(
        """
        import time
        answer = None
        while answer != "go": time.sleep(0.01)
        with open("in") as stdin:
            import sys
            sys.stdin = stdin
            line = input()
        time.sleep(60)
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        request = client.send("answer = input('Who? ')", allow_stdin=True)
        asked = client.kernel.get_stdin_msg(timeout=30)["content"]
        assert (asked["prompt"], asked["password"]) == ("Who? ", False)
        client.kernel.input("go")
        assert client.finish(request).status == "ok"
        wait_for(lambda: client.run("line").status == "ok", "the program's own input()")
        assert client.value("line") == "the program's own line"
        request = client.send("import getpass; p = getpass.getpass('Word: ')", allow_stdin=True)
        asked = client.kernel.get_stdin_msg(timeout=30)["content"]
        assert (asked["prompt"], asked["password"]) == ("Word: ", True)
        client.kernel.input("secret")
        assert client.finish(request).status == "ok"
        assert client.value("p") == "secret"


def test_no_debugger_is_loaded(counter: Program) -> None:
    with counter.client() as client:
        client.run("import sys")
        assert client.value("[m for m in sys.modules if m.startswith(('debugpy', 'pydevd'))]") == []
        assert client.value("'ipykernel.debugger' in sys.modules") is False


def test_several_clients_at_once(counter: Program) -> None:
    with counter.client() as one, counter.client() as two:
        one.run("shared = 'from one'")
        assert two.value("shared") == "from one"
        request = one.send("for i in range(3): print(i)")
        assert two.run("'two'").result == "'two'"
        assert one.finish(request).stdout == textwrap.dedent("0\n1\n2\n")
    with counter.client() as three:
        assert three.value("shared") == "from one"


def test_a_cell_gets_none_of_what_the_program_prints_meanwhile(launch: Launcher) -> None:
    program = launch(
        """
        import threading, time
        def speak():
            while True:
                print("program")
                time.sleep(0.0005)
        threading.Thread(target=speak, daemon=True).start()
        while True: sum(range(1000))
        """
    )
    with program.client(ready=False) as client:
        for number in range(50):
            assert client.run(f"print({number})").stdout == f"{number}\n"


def test_what_a_magic_complains_of_is_the_cells_and_nothing_for_the_programs_log(
    counter: Program,
) -> None:
    with counter.client() as client:
        for line in ("%gui qt", "%autocall nonsense"):
            reply = client.run(line)
            assert reply.stderr.startswith("ERROR: "), reply
            assert "error:root" not in reply.stderr.lower()
        assert client.run("%debug").stderr.startswith("UsageError: No traceback"), (
            "nothing to debug"
        )
        # with a handler there, the program's own logging.basicConfig would do nothing
        assert client.run("import logging; logging.getLogger().handlers").result == "[]"
    assert counter.stderr == ""


def test_a_library_that_wants_no_event_loop_is_content(counter: Program) -> None:
    with counter.client() as client:
        # as `%matplotlib inline` does
        assert client.run("get_ipython().enable_gui(None)").status == "ok"
        assert client.run("%gui").stderr == ""
        assert "beside the program's" in client.run("get_ipython().enable_gui('tk')").stderr


def test_magics_that_ask_for_ipykernels_application_work_without(launch: Launcher) -> None:
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        reply = client.run("%connect_info")
        assert f"rtconsole attach {program.pid}" in reply.stdout
        assert str(program.connection_file) in reply.stdout
        assert client.run("%subshell").stdout.strip() == "the main shell (this one)"
        assert client.run("%threads").stdout.startswith("Thread MainThread (main)\n")
        assert client.run("%rehashx").status == "ok"
        if find_spec("qtconsole") is None:
            reply = client.run("%qtconsole")
            assert (reply.status, "--existing" in reply.stderr) == ("error", True)


@pytest.mark.parametrize("mode", ["Plain", "Context", "Verbose", "Docs"])
def test_a_traceback_of_each_mode_begins_with_the_cell(launch: Launcher, mode: str) -> None:
    program = launch("import time\ndef f(): return 1 / 0\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        client.run(f"%xmode {mode}")
        for cell in ("f()", "1 / 0"):
            reply = client.run(cell)
            assert reply.error == "ZeroDivisionError"
            assert "In[" in str(reply.traceback) or "ipython-input" in str(reply.traceback)
            assert "formatting exception" not in reply.stdout
