"""Before anybody connects, and while the kernel boots beside a program that is busy."""

import json
import signal
import time

import pytest
from harness import Launcher, Program, wait_for


def threads_of(program: Program) -> dict[int, dict[str, str]]:
    """Return what proc(5) says of each thread of a program but the main one."""
    found = {}
    tasks = [t for t in program.task_folders() if t.name != str(program.pid)]
    for task in tasks:
        lines = (task / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        found[int(task.name)] = {key: value.strip() for key, value in fields.items()}
    return found


def test_the_parked_thread_is_unknown_to_threading_and_blocks_all_signals(
    launch: Launcher,
) -> None:
    program = launch(
        """
        import threading, json, time
        print(json.dumps([
            [thread.name for thread in threading.enumerate()],
            threading.main_thread() is threading.current_thread(),
            threading.active_count(),
        ]), flush=True)
        time.sleep(60)
        """
    )
    program.wait_for_output("\n")
    assert json.loads(program.stdout) == [["MainThread"], True, 1]
    (parked,) = threads_of(program).values()
    blocked = int(parked["SigBlk"], 16)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        assert blocked >> (number - 1) & 1, signal.Signals(number)


def test_a_dormant_program_has_imported_nothing_of_the_kernel(launch: Launcher) -> None:
    program = launch(
        "import sys\nprint(sorted(sys.modules), flush=True)\nimport time; time.sleep(60)"
    )
    program.wait_for_output("]\n")
    loaded = set(eval(program.stdout))
    assert not loaded & {"zmq", "IPython", "ipykernel", "asyncio", "threading", "json", "socket"}
    ours = {name for name in loaded if name.startswith(("rtconsole", "sitehook"))}
    assert ours <= {"sitehook", "rtconsole", "rtconsole.listener"} | {
        f"rtconsole.{name}"
        for name in (
            "lifecycle",
            "leftovers",
            "renewal",
            "unusual",
            "folders",
            "settings",
            "debuglog",
        )
    }


def test_the_parked_thread_sleeps(launch: Launcher) -> None:
    program = launch("import time\ntime.sleep(60)")
    assert program.connection_file

    def switches() -> list[str]:
        return [t["voluntary_ctxt_switches"] for t in threads_of(program).values()]

    def rests() -> list[str] | None:
        before = switches()
        time.sleep(0.1)
        return before if before == switches() else None

    before = wait_for(rests, "the parked thread to be parked")
    assert before == switches() == switches()
    (thread,) = threads_of(program)
    wait_for(lambda: threads_of(program)[thread]["State"].startswith("S"), "it to sleep")


@pytest.mark.parametrize("imports", ["", "import threading"])
def test_the_main_thread_stays_the_main_thread(launch: Launcher, imports: str) -> None:
    program = launch(
        f"""
        {imports}
        import time
        def main():
            while not globals().get("asked"): time.sleep(0.01)
            import threading
            print(threading.main_thread() is threading.current_thread(),
                  threading.main_thread().is_alive(), flush=True)
            time.sleep(60)
        main()
        """
    )
    with program.client() as client:
        assert client.run("asked = True").status == "ok"
        program.wait_for_output("\n")
        assert program.stdout == "True True\n"
        assert client.run("import threading; threading.main_thread().name").result == "'MainThread'"
        assert client.value("[t.name for t in threading.enumerate()].count('MainThread')") == 1
        assert "Dummy" not in str(client.run("threading.enumerate()").result)


def test_a_busy_program_is_no_dead_kernel(launch: Launcher) -> None:
    program = launch("n = 0\nwhile True: n += 1")
    with program.client() as client:  # which gives up when the heartbeat is silent
        first = client.value("n")
        wait_for(lambda: client.value("n") > first, "the program to go on")
        wait_for(client.kernel.hb_channel.is_beating, "the heartbeat")


@pytest.mark.parametrize("name", ["settrace", "setprofile"])
def test_the_program_does_not_trace_the_kernels_threads(launch: Launcher, name: str) -> None:
    program = launch(
        f"""
        import os, threading, time
        seen = set()
        def note(frame, event, arg):
            seen.add(threading.get_ident())
            return note
        threading.{name}(note)
        while not os.path.exists("end"): time.sleep(0.01)
        print(len(seen))
        own = threading.Thread(target=lambda: None)
        own.start()
        own.join()
        print(seen == {{own.ident}})
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        assert client.run("1 / 0").error == "ZeroDivisionError"
        client.control("create_subshell_request")
        (launch.home / "end").touch()
        assert program.wait() == 0
    assert program.stdout == "0\nTrue\n"
