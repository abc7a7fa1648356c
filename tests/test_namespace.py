"""What a cell's names mean, and what the program's dict has afterwards."""

import zipfile

import pytest
from harness import Launcher, Program, wait_for

WAIT = "import time\nwhile True: time.sleep(0.01)\n"


def keys(client: object) -> list[str]:
    return client.value("sorted(globals())")  # type: ignore[attr-defined, no-any-return]


def test_the_programs_dict_has_exactly_the_names_the_user_assigned(launch: Launcher) -> None:
    program = launch("before = sorted(globals())\n" + WAIT)
    with program.client() as client:
        wait_for(lambda: client.run("time").status == "ok", "the program")
        before = set(client.value("before")) | {"before", "time"}
        for cell in (
            "1 + 1", "In, Out, _, __, _1, _i", "exit", "get_ipython()", "display(1)", "%who",
            "!true", "%timeit -n1 -r1 pass", "import warnings; warnings.warn('w')", "1/0",
            "open", "quit", "?time", "%%time\n1", "a = 1", "b: int = 2", "c = d = 3", "del d",
            "for e in range(2): pass", "import os as f", "with open('/dev/null') as g: pass",
            "def h(): pass", "class i: pass", "exec('j = 1')", "[k for k in range(3)]",
            "(l := 5)", "a += 1", "await __import__('asyncio').sleep(0, result=1)",
        ):  # fmt: skip
            client.run(cell)
        added = set("abcefghijl") | {"warnings", "__annotations__"}
        after = set(keys(client))
        assert after - {"__annotations__"} == (before | added) - {"__annotations__"}
        assert client.value("(a, b, c, e, j, l)") == (2, 2, 3, 1, 1, 5)


def test_the_programs_own_underscore_open_and_exit_keep_their_values(launch: Launcher) -> None:
    program = launch('_, open, exit, In, _1, _i = "_", "o", "e", "I", "1", "i"\n' + WAIT)
    with program.client() as client:
        wait_for(lambda: client.run("_i").status == "ok", "the program")
        for cell in ("1 + 1", "2 + 2", "exit", "%reset -f out", "%reset -f in", "open"):
            client.run(cell)
        names = "_, open, exit, In, _1, _i"
        assert client.value(f"({names})") == ("_", "o", "e", "I", "1", "i")
        own = client.value(f"[globals()[name] for name in '{names}'.split(', ')]")
        assert own == ["_", "o", "e", "I", "1", "i"]


def test_ipythons_names_work_in_cells_and_in_functions_typed_into_them(counter: Program) -> None:
    with counter.client() as client:
        client.run("40 + 2")
        assert client.run("_ + 1").result == "43"
        assert client.run("_1").result == "42"
        assert client.run("Out[1] == 42 and In[1] == '40 + 2'").result == "True"
        assert client.run("[_1 + n for n in range(2)]").result == "[42, 43]"
        assert client.run("(lambda: (_1, len(In) > 3))()").result == "(42, True)"
        assert client.run("def f(_1): return _1\nf(0)").result == "0"
        reply = client.run("def g():\n    %timeit -n1 -r1 pass\ng()")
        assert "loop" in reply.stdout, reply
        assert client.run("class C:\n    n = len(In)\nC.n > 0").result == "True"


def test_code_in_cells_behaves_as_in_a_module(launch: Launcher) -> None:
    program = launch(WAIT)
    with program.client() as client:
        client.run("n = 1\ndef bump():\n    global n\n    n += 1\n    return n")
        assert client.run("bump(), n").result == "(2, 2)"
        reply = client.run("class A:\n    m = n\n    def get(self): return n\nA.m, A().get()")
        assert reply.result == "(2, 2)"
        assert client.run("A.__module__, bump.__module__").result == "('__main__', '__main__')"
        assert client.run("bump.__globals__ is globals()").result == "True"
        reply = client.run("{m: [n for _ in range(m)] for m in range(2)}")
        assert reply.result == "{0: [], 1: [2]}"
        client.run("x: int = 3")
        assert client.run("x").result == "3"
        client.run("import pickle")
        assert client.run("pickle.loads(pickle.dumps(bump)) is bump").result == "True"
        assert client.run("del n").status == "ok"
        assert client.run("n").error == "NameError"
        assert client.run("bump()").error == "NameError"
        client.run("def deco(f): return lambda: f() + 1\n@deco\ndef two(): return 1")
        assert client.run("two()").result == "2"


def test_who_and_completion_show_the_programs_names_only(counter: Program) -> None:
    with counter.client() as client:
        shown = client.run("%who").stdout.split()
        assert {"hello", "s", "t", "main", "time"} <= set(shown)
        assert not {"In", "Out", "exit", "quit", "get_ipython", "display"} & set(shown)
        assert "hello" in client.run("%whos").stdout


def test_reset_asks_and_says_what_it_would_delete(launch: Launcher) -> None:
    program = launch(
        """
        def wait():
            import time
            time.sleep(60)
        precious = 1
        other = 2
        wait()
        """
    )
    with program.client() as client:
        wait_for(lambda: client.run("other").status == "ok", "the program")
        request = client.send("%reset", allow_stdin=True)
        assert "Delete them" in client.kernel.get_stdin_msg(timeout=30)["content"]["prompt"]
        client.kernel.input("n")
        reply = client.finish(request)
        assert "precious" in reply.stdout
        assert "Nothing done" in reply.stdout
        assert client.value("precious") == 1
        assert "Nothing done" in client.run("%reset", allow_stdin=False).stdout
        request = client.send("%reset_selective prec", allow_stdin=True)
        client.kernel.get_stdin_msg(timeout=30)
        client.kernel.input("y")
        assert client.finish(request).status == "ok"
        assert client.run("precious").error == "NameError"
        assert client.value("other") == 2
        client.run("%reset -f")
        assert client.run("other").error == "NameError"
        assert client.run("__name__").result == "'__main__'"


MAINS = {
    "a module": ["-m", "wait"],
    "a package": ["-m", "package"],
    "a command": ["-c", "mark = 'a'\nimport time\ntime.sleep(60)"],
    "a zip application": ["app.zip"],
    "a folder": ["folder"],
    "runpy": ["-c", "import runpy; runpy.run_path('wait.py', run_name='__main__')"],
}


@pytest.mark.parametrize("arguments", MAINS.values(), ids=MAINS)
def test_cells_run_in_main_however_the_program_was_started(
    launch: Launcher, arguments: list[str]
) -> None:
    source = "mark = 'a'\nimport time\ntime.sleep(60)\n"
    for name in ("wait.py", "package/__main__.py", "folder/__main__.py"):
        launch.script(source, name)
    with zipfile.ZipFile(launch.home / "app.zip", "w") as archive:
        archive.writestr("__main__.py", source)
    program = launch(None, *arguments, cwd=launch.home)
    with program.client() as client:
        wait_for(lambda: client.run("mark").result == "'a'", "the program's names")
        client.run("added = 1")
        assert client.run("import sys; sys.modules['__main__'].added").result == "1"


def test_cells_run_in_main_of_a_script_read_from_stdin(launch: Launcher) -> None:
    (launch.home / "in.py").write_text("mark = 'a'\nimport time\ntime.sleep(60)\n")
    with (launch.home / "in.py").open() as stdin:
        program = launch(None, "-", stdin=stdin)
    with program.client() as client:
        wait_for(lambda: client.run("mark").result == "'a'", "the program's names")


def test_a_spawned_multiprocessing_child_has_its_functions_in_reach(launch: Launcher) -> None:
    program = launch(
        """
        import multiprocessing, os, time
        def work():
            global busy
            busy = os.getpid()
            print(busy, flush=True)
            time.sleep(60)
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=work)
            child.start()
            child.join()
        """
    )
    pid = int(wait_for(lambda: program.stdout.strip(), "the child's pid"))
    program.pid = pid
    with program.client() as client:
        assert client.value("busy") == pid
        assert client.value("work.__module__") == "__mp_main__"
        client.send("os._exit(0)")
    assert program.wait() == 0


def test_a_clock_that_the_program_has_replaced_is_asked_by_nobody_else(launch: Launcher) -> None:
    program = launch(
        """
        import os, sys, time
        from unittest import mock
        sleep, calls = time.sleep, []
        def count(name):
            calls.append((name, sys._getframe(2).f_code.co_filename))
            return 7.0  # the time is stopped, as freezegun does it
        with (
            mock.patch("time.sleep", lambda seconds: count("sleep")),
            mock.patch("time.monotonic", lambda: count("monotonic")),
        ):
            while not os.path.exists("go"):
                print(end="half a line", flush=True)
                sleep(0.01)
        calls = [one for one in calls if "zmq" not in one[1]]  # whose poll() measures itself
        print(calls, file=sys.stderr)
        """,
        cwd=launch.home,
    )
    with program.client() as client:  # also while it boots
        for code in ("1 + 1", "1 / 0", "%threads", "import asyncio; await asyncio.sleep(0.01)"):
            client.run(code)
        client.iopub("stream")  # flushed in its time
    with program.client():
        (launch.home / "go").touch()
        assert program.wait() == 0
    assert program.stderr == "[]\n"


def test_the_programs_sleep_and_close_are_its_own_while_a_cell_runs(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import os, pickle, time
        import cloudpickle  # by value what is in __main__, and modules by their type
        sleep, close, seen = time.sleep, os.close, []
        def wait(seconds):  # a function that the interpreter has had time to specialize
            time.sleep(seconds)
        while not os.path.exists("go"):
            wait(0.001)
            try:
                seen.append(pickle.loads(pickle.dumps(sleep)) is time.sleep is sleep)
                seen.append(os.close is close)  # as shutil.rmtree asks
                cloudpickle.loads(cloudpickle.dumps(wait))(0)
            except Exception as error:
                seen.append(repr(error))
        print(type(time))
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.run("while len(seen) < 200: pass")
        client.run("del seen[:]\nwhile len(seen) < 100: pass")
        assert set(client.value("seen")) == {True}
        # what a cell took may be bound, shown and pickled like the original, by any thread
        reply = client.run(
            """
            import pickle, threading, time
            from time import sleep as nap
            class Napper: rest = time.sleep
            Napper().rest(0)
            found = []
            pickled = lambda: found.append(pickle.loads(pickle.dumps(nap)) is sleep)
            thread = threading.Thread(target=pickled)
            thread.start()
            thread.join()
            print(nap, nap.__module__, nap.__name__, found, hasattr(time, "nothing"))
            """
        )
        assert reply.stdout == "<built-in function sleep> time sleep [True] False\n", reply
        reply = client.run(
            """
            from unittest import mock
            with mock.patch("time.sleep") as fake:
                wait(7)
            print(fake.call_count > 0, vars(time)["sleep"] is sleep)
            try: time.nothing
            except AttributeError as error: print(error)
            """
        )
        assert reply.stdout == "True True\nmodule 'time' has no attribute 'nothing'\n", reply
        for cell in ("wait(60)", "time.sleep(60)"):
            request = client.send(cell)
            wait_for(lambda: client.iopub("execute_input"), "the cell")
            client.interrupt()
            assert client.finish(request).error == "KeyboardInterrupt"
    (launch.home / "go").touch()
    assert program.wait() == 0, program.describe()
    assert (program.stdout, program.stderr) == ("<class 'module'>\n", "")
