"""A program that replaces what waits in the standard library, as gevent and eventlet do."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from harness import Client, Launcher, wait_for

# A library that is called like one of the two, and notes who uses what it has put in place. It
# is the real thing that waits: the program would stand still, and be found out, only if it were
# greenlets' code.
LIBRARY = """
import sys, threading, _thread, time, select, selectors, socket, queue, os, subprocess

used = []

# While a cell runs, the program's functions pass through ones of the console's.
through = {("rtconsole.kernel.cell", name) for name in ("sleep", "close", "closerange")}

def see(name):
    frame = sys._getframe(2)
    if (frame.f_globals.get("__name__"), frame.f_code.co_name) in through:
        frame = frame.f_back
    used.append((name, frame.f_globals.get("__name__", ""), frame.f_code.co_name))

def note(name, original):
    if hasattr(original, "__mro__") and original.__module__ in ("socket", "threading", "queue"):
        class Replacement(original):
            def __init__(self, *arguments, **options):
                see(name)
                super().__init__(*arguments, **options)
        return Replacement
    def replacement(*arguments, **options):
        see(name)
        return original(*arguments, **options)
    return replacement

def patch_all():
    for module, names in {
        _thread: ("start_new_thread", "start_joinable_thread", "allocate_lock", "get_ident"),
        threading: ("Lock", "Event", "Condition", "current_thread", "get_ident",
                    "_start_new_thread", "_start_joinable_thread", "_allocate_lock"),
        time: ("sleep",),
        select: ("select", "poll", "epoll"),
        selectors: ("DefaultSelector",),
        socket: ("socket", "socketpair", "create_connection"),
        queue: ("Queue", "SimpleQueue"),
        os: ("read", "write", "close", "waitpid", "fork", "forkpty"),
        subprocess: ("Popen",),
    }.items():
        for name in names:
            if hasattr(module, name):
                setattr(module, name, note(f"{module.__name__}.{name}", getattr(module, name)))

def used_by(*packages):
    return sorted(entry for entry in set(used) if entry[1].partition(".")[0] in packages)
"""

PROGRAM = """
import sys, time
import gevent
if sys.argv[1] == "late":
    print("plain", flush=True)
    while not sys.stdin.readline():
        pass
gevent.patch_all()
print("patched", flush=True)
t, stop = 0, False
while not stop:
    t += 1
    time.sleep(0.005)
print("end", flush=True)
"""

KERNELS = "'rtconsole', 'ipykernel', 'zmq', 'tornado', 'jupyter_client', 'IPython', 'threading'"


@pytest.mark.parametrize("when", ["early", "late"])
def test_the_kernel_uses_nothing_that_the_program_has_replaced(launch: Launcher, when: str) -> None:
    launch.script(LIBRARY, "gevent.py")
    program = launch(PROGRAM, when, stdin=subprocess.PIPE)
    if when == "late":
        program.wait_for_output("plain")
        with program.client() as client:
            assert client.run("6 * 7").result == "42"
            assert program.process.stdin is not None
            program.process.stdin.write(b"go\n")
            program.process.stdin.flush()
            program.wait_for_output("patched")
    program.wait_for_output("patched")
    for _ in range(2):
        with program.client() as client:
            client.run("del gevent.used[:]")
            assert client.run("6 * 7").result == "42"
            assert client.run("print('out')").stdout == "out\n"
            assert client.run("1/0").error == "ZeroDivisionError"
            assert client.run("import asyncio; await asyncio.sleep(0.01)").status == "ok"
            assert client.run("await asyncio.to_thread(abs, -3)").result == "3"
            assert client.run("!echo from a shell").stdout.strip() == "from a shell"
            assert client.shell_reply(client.kernel.complete("gev"))["matches"] == ["gevent"]
            assert client.control("stack_request")["status"] == "ok"
            client.send("input('?')", allow_stdin=True)
            client.kernel.get_stdin_msg(timeout=30)
            client.kernel.input("answer")
            assert len(client.run("'x' * 300_000").result or "") == 300_002
            subshell = client.control("create_subshell_request")["subshell_id"]
            assert client.control("delete_subshell_request", subshell_id=subshell)
            assert client.value(f"gevent.used_by({KERNELS})") == []
            # what a cell does is the program's
            client.run("def sleep(): time.sleep(0.01)")
            client.run("import threading, queue; sleep(); queue.Queue()")
            names = {name for name, _, _ in client.value("gevent.used_by('__main__')")}
            assert {"queue.Queue"} <= names
            assert client.value("'IOPub' in [t.name for t in threading.enumerate()]") is False
    with program.client() as client:
        client.send("stop = True")
        assert program.wait() == 0
    assert program.stderr == ""


def test_a_console_by_hand_waits_by_nothing_that_was_replaced_before(launch: Launcher) -> None:
    launch.script(LIBRARY, "gevent.py")
    program = launch(
        "import gevent, time\ngevent.patch_all()\nfrom rtconsole import start_console\n"
        "start_console()\nprint('patched', flush=True)\nwhile True: time.sleep(0.01)",
        env={"RTCONSOLE": None},
    )
    program.wait_for_output("patched")
    with program.client() as client:
        used = {name for name, _, _ in client.value("gevent.used_by('rtconsole')")}
        assert used <= {"_thread.get_ident", "threading.get_ident"}  # which wait for nobody


def test_tail_can_be_interrupted_where_such_a_library_is_installed(launch: Launcher) -> None:
    launch.script(LIBRARY, "gevent.py")
    program = launch("import time\nwhile True: print('tick', flush=True); time.sleep(0.01)")
    with program.client() as client:
        tail = client.send("%tail")

        def is_shown() -> bool:
            return bool(client.iopub("stream")["parent_header"].get("msg_id") == tail)

        wait_for(is_shown, "the tail")
        client.interrupt()
        assert client.finish(tail).status == "ok"


def test_what_a_cell_starts_can_be_terminated_where_such_a_library_is_installed(
    launch: Launcher,
) -> None:
    launch.script(LIBRARY, "gevent.py")
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        assert client.run("import os; os.system('kill -TERM $$')").result == "15"
        assert client.run("!kill -TERM $$; echo goes on").stdout == ""
        call = "import subprocess; subprocess.call('kill -TERM $$', shell=True)"
        assert client.run(call).result == "-15"


def test_a_library_that_is_not_there_costs_nothing(launch: Launcher) -> None:
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        found = client.value("[n for n in __import__('sys').modules if 'rtconsole_native' in n]")
    assert found == [] or _has_greenlets()


def _has_greenlets() -> bool:
    from rtconsole import native

    return native.is_wanted()


@pytest.mark.parametrize("library", ["", LIBRARY], ids=["threads", "greenlets"])
def test_all_that_a_boot_imports_is_imported_behind_the_gate(
    launch: Launcher, library: str
) -> None:
    """A child that is forked amid an import has a module that is half there, and its lock."""
    if library:
        launch.script(library, "gevent.py")
    patch = "import gevent; gevent.patch_all()" if library else ""
    program = launch(
        f"""
        import _thread, sys, time
        from rtconsole import listener
        {patch}
        console, own, seen, free = listener.current, listener.get_ident(), set(), set()
        def hook(event, arguments):
            if event == "import" and listener.get_ident() != own and console.state == "booting":
                seen.add(arguments[0])
                if not console.gate.locked(): free.add(arguments[0])
        sys.addaudithook(hook)
        print("ready", flush=True)
        while True: time.sleep(0.01)
        """
    )
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.value("{'ipykernel.ipkernel', 'rtconsole.kernel.boot'} <= seen")
        assert client.value("free") == set()


def test_an_import_goes_on_when_the_program_patches_in_the_middle(launch: Launcher) -> None:
    """The locks of modules ask ``_thread``, of which a patched one gives other answers."""
    code = """
    import _thread, sys, threading
    from rtconsole import native
    sys.path.insert(0, sys.argv[1])
    begun, patched = threading.Event(), threading.Event()
    outcome = []

    def load():
        with native.module_locks(sys.argv[2] == "ours"):
            begun.set()
            try:
                import slow
                outcome.append("imported")
            except RuntimeError as error:
                outcome.append(str(error))

    sys.modules["between"] = sys  # what the module finds them by
    sys.begun, sys.patched = begun, patched
    thread = threading.Thread(target=load)
    thread.start()
    begun.wait()
    while "slow" not in sys.modules:
        pass
    original = _thread.get_ident
    _thread.get_ident = lambda: -original()
    patched.set()
    thread.join()
    _thread.get_ident = original
    print(*outcome, flush=True)
    """
    launch.script("import sys; sys.patched.wait()", "folder/slow.py")
    for locks, expected in (("ours", "imported"), ("its", "cannot release un-acquired lock")):
        arguments = [str(launch.home / "folder"), locks]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            env=launch.environment(RTCONSOLE=None),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == (f"{expected}\n", ""), locks


@pytest.mark.parametrize(
    "module", ["lifecycle", "waking", "forks", "native", "collections", "resource", "boot"]
)
def test_a_kernel_boots_although_the_program_patches_amid_one_of_its_first_imports(
    launch: Launcher, module: str
) -> None:
    launch.script("", "gevent.py")
    launch("pass").wait()  # makes the folders: what comes then starts as most programs do
    program = launch(
        """
        import _thread, os, sys, time
        name, original, found, seen = sys.argv[1], _thread.get_ident, set(sys.modules), []
        main = original()

        def hook(event, arguments):  # the lock of the module is held: of one in C, the second time
            if original() == main or event not in ("exec", "import"): return
            file = arguments[0].co_filename if event == "exec" else str(arguments[1])
            if any(file.endswith(end) for end in (f"/{name}.py", f"/{name}/__init__.py")) or (
                f"/{name}." in file
            ):
                seen.append(file)
                # the main thread's stays: `threading` is perhaps not imported, as gevent would have
                _thread.get_ident = lambda: original() * (1 if original() == main else -1)

        sys.addaudithook(hook)
        print("ready", flush=True)
        stop = False
        while not stop: time.sleep(0.01)
        """,
        module,
    )
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.run("6 * 7").result == "42", program.describe()
        assert client.value(f"bool(seen or {module!r} in found)") is True
        client.send("stop = True")
        assert program.wait() == 0
    assert program.stderr == ""


def test_our_instances_are_others_and_the_programs_are_as_they_were() -> None:
    code = """
    import sys
    import _thread, time, select, os, threading, queue, selectors, socket, subprocess, pty
    import _threading_local
    modules = {name: sys.modules[name] for name in (
        "_thread", "time", "select", "os", "threading", "_threading_local", "queue",
        "selectors", "socket", "subprocess", "pty")}
    before = {name: dict(vars(module)) for name, module in modules.items()}
    from rtconsole import native
    ours = native.modules(_thread.get_ident(), _thread.get_native_id())
    assert ours.keys() == modules.keys()
    for name, module in modules.items():
        assert sys.modules[name] is module
        assert ours[name] is not module
        assert vars(module) == before[name], name
        assert native.module(name) is ours[name]
    assert ours["os"].environ is os.environ
    assert ours["threading"].main_thread().ident == threading.main_thread().ident
    assert ours["threading"].main_thread().native_id == threading.main_thread().native_id
    assert ours["queue"].threading is ours["threading"]
    assert ours["subprocess"].time is ours["time"]
    made = ours["threading"].Thread(target=print, args=("ran",))
    made.start()
    made.join()
    assert made not in threading.enumerate()
    assert ours["subprocess"].run(["true"]).returncode == 0
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_a_child_forked_in_the_middle_of_a_boot_boots_its_own(launch: Launcher) -> None:
    launch.script(LIBRARY, "gevent.py")
    program = launch(
        """
        import os, sys, time
        import gevent
        children = []
        while len(children) < 5:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
            time.sleep(0.07)
        print(*children, flush=True)
        time.sleep(60)
        """,
        python=[sys.executable, "-W", "ignore"],
    )
    with program.client() as client:
        wait_for(lambda: program.stdout.endswith("\n"), "the children")
        children = [int(word) for word in program.stdout.split()]
        try:
            assert client.run("len(children)").result == "5"
            for child in children:
                path = program.connection_file_of(child)
                wait_for(path.exists, "the child's file")
                its = Client(path)
                try:
                    assert its.ready().run("6 * 7").result == "42", program.describe()
                finally:
                    its.close()
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_children_of_an_eager_program_boot_once_threading_knows_of_the_fork(
    launch: Launcher,
) -> None:
    # an at-fork handler that takes its time, between ours and threading's
    launch.script(
        """
        import os, sys, time
        sys.early = "threading" not in sys.modules
        os.register_at_fork(after_in_child=lambda: time.sleep(0.3))
        """,
        "folder/sitecustomize.py",
    )
    source = """
        import os, sys, time
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        child = os.fork()
        if child:
            print(child, sys.early, flush=True)
        time.sleep(60)
        """

    def start() -> int:
        """Return the child of a program in which threading was imported after that."""
        (launch.home / "flag").unlink(missing_ok=True)
        program = launch(
            source,
            str(launch.home / "flag"),
            python=[sys.executable, "-W", "ignore"],
            env={"RTCONSOLE_EAGER": "1", "PYTHONPATH": str(launch.home / "folder")},
        )
        with program.client():
            (launch.home / "flag").touch()
            wait_for(lambda: program.stdout.endswith("\n"), "the child")
        child, early = program.stdout.split()
        return int(child) if early == "True" else 0

    child = wait_for(start, "an order of events that is to be had")
    try:
        path = launch.programs[-1].connection_file_of(child)
        wait_for(path.exists, "the child's file")
        client = Client(path)
        try:
            assert client.ready().run("6 * 7").result == "42"
            assert client.value("get_ipython().kernel.control_thread.is_alive()") is True
            assert client.value("get_ipython().kernel.iopub_thread.thread.is_alive()") is True
            names = "[t['name'] for t in get_ipython().kernel.stacks()]"
            assert "not a Python thread" not in client.value(names)
        finally:
            client.close()
    finally:
        os.kill(child, signal.SIGKILL)
    assert launch.programs[-1].stderr == ""


def test_a_module_of_the_programs_named_like_one_of_these_is_not_run(launch: Launcher) -> None:
    launch.script("", "gevent.py")
    launch.script("import sys; sys.ran = True", "queue.py")
    program = launch("import time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        assert client.run("await __import__('asyncio').sleep(0)").status == "ok"
        assert client.value("hasattr(__import__('sys'), 'ran')") is False
        assert client.value("__import__('queue').__file__.endswith('/queue.py')") is True
        assert client.value("hasattr(__import__('sys'), 'ran')") is True
