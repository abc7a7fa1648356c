"""RTCONSOLE_READONLY: clients see all that can be seen, and run nothing."""

from typing import Any

import commands
import pytest
from attaching import Attach, attach
from harness import PATIENCE, Client, Launcher, Program, wait_for

__all__ = ["attach"]

REASON = "this console may look but not run: the program was started with RTCONSOLE_READONLY"

# Objects that tell of each line of theirs that is run.
LOUD = """
import os, sys, threading, time

class Meta(type):
    def __getattribute__(cls, name):
        print("RAN", name); return super().__getattribute__(name)

def ran(self, *arguments):
    print("RAN", arguments, flush=True)
    raise AttributeError

class Loud:
    "Says when it is asked."
    quiet = 5
    __getattr__ = __getattribute__ = __dir__ = __repr__ = __str__ = __len__ = __iter__ = ran
    __eq__ = __hash__ = __call__ = __getitem__ = __bool__ = ran
    getdoc = _ipython_key_completions_ = _repr_mimebundle_ = ran
    __class__ = prop = property(ran)
    def method(self, a, /, b=1, *c, d, **e):
        "Does."
        return 1

class Strange(metaclass=Meta):
    __dict__ = property(ran)

loud, strange, number = Loud(), Strange(), 41
held = [1, {"a": loud}, strange, "x" * 10_000]
vars()["__repr"] = ran
if "wiped" in sys.argv:
    os.environ.clear()
print("up", flush=True)
while True:
    time.sleep(0.01)
    if os.path.exists(sys.argv[1]):
        os.remove(sys.argv[1])
        print("asked to speak", flush=True)
"""


@pytest.fixture
def program(launch: Launcher) -> Program:
    program = launch(LOUD, str(launch.home / "speak"), env={"RTCONSOLE_READONLY": "1"})
    program.wait_for_output("up\n")
    return program


def ask(client: Client, kind: str, **content: Any) -> dict[str, Any]:
    """Send a request on the shell channel and return the reply's content."""
    message = client.kernel.session.msg(kind, content)
    client.kernel.shell_channel.send(message)
    return client.shell_reply(message["header"]["msg_id"])


def test_no_way_to_run_a_cell_runs_it(program: Program) -> None:
    execute = {
        "code": "number = 42",
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
    }
    expression = {"it": "globals().update(number=42)"}
    with program.client() as client:
        for change in (
            {},
            {"silent": True},
            {"store_history": False},
            {"code": "", "user_expressions": expression},
            {"code": "", "silent": True, "user_expressions": expression},
            {"code": "%tail -t {globals().update(number=42)}"},
            {"code": "%threads\nnumber = 42"},
            {"code": "%mirror redirect"},
            {"code": "number?; number = 42"},
            {"code": "!echo RAN"},
            {"code": "get_ipython().ev('x')?"},
            {"code": 42},
        ):
            for reply in (
                ask(client, "execute_request", **{**execute, **change}),
                client.control("execute_request", **{**execute, **change}),
            ):
                assert (reply["status"], reply["ename"]) == ("error", "CellRefused"), change
                assert reply["evalue"] == REASON
        for kind in ("debug_request", "create_subshell_request", "delete_subshell_request"):
            assert client.control(kind, command="initialize")["evalue"] == REASON
        for kind in ("comm_open", "comm_msg", "comm_close"):
            message = client.kernel.session.msg(
                kind, {"comm_id": "1", "target_name": "exec", "data": "number = 42"}
            )
            client.kernel.shell_channel.send(message)
        assert client.iopub("comm_close")["content"]["comm_id"] == "1"
        told = ask(client, "inspect_request", code="number", cursor_pos=3)["data"]["text/plain"]
        assert "Value:     41" in told
        assert client.run("1").traceback == f"CellRefused: {REASON}"
    assert "RAN" not in program.stdout


def test_looking_runs_nothing_of_the_programs(program: Program) -> None:
    with program.client() as client:

        def names(code: str) -> list[str]:
            reply = ask(client, "complete_request", code=code, cursor_pos=len(code))
            entries = reply["metadata"]["_jupyter_types_experimental"]
            assert [entry["text"] for entry in entries] == reply["matches"]
            return [f"{entry['text']} {entry['type']}" for entry in entries]

        def about(code: str, detail: int = 0) -> str:
            reply = ask(
                client, "inspect_request", code=code, cursor_pos=len(code), detail_level=detail
            )
            return reply["data"]["text/plain"] if reply["found"] else ""

        assert names("x = loud.") == [
            "getdoc function",
            "method function",
            "prop property",
            "quiet int",
        ]
        assert names("lou") == ["loud Loud"]
        assert names("strange.") == []
        assert names("loud.prop.") == names("loud.nothing.") == names("f().qu") == []
        assert "sleep function" in names("time.sl")
        assert "append function" in names("held.app")
        assert "while " in names("whi")
        assert names("import antigra") == []

        assert "Docstring:\nSays when it is asked." in about("Loud")
        assert "Value:     <Loud at 0x" in about("loud")
        assert "Value:     [1, {'a': <Loud at " in about("held")
        assert len(about("held")) < 2000
        assert "<class Strange>" in about("Strange")
        method = about("loud.method(", detail=1)
        assert "Signature: method(self, a, /, b, *c, d, **e)" in method
        assert "Docstring:\nDoes." in method
        assert method.endswith("return 1")
        assert "Type:      property" in about("loud.prop")
        assert about("loud.nothing") == about("1 + ") == about("") == ""
        assert "Type:      module" in about("time")
        assert about("open").startswith("Signature: open(file, mode='r'")

        page = client.run("loud.method??").payload
        assert page[0]["source"] == "page"
        assert page[0]["data"]["text/plain"].endswith("return 1")
        assert ask(client, "is_complete_request", code="if loud:")["status"] == "incomplete"
        history = {"output": False, "raw": True, "hist_access_type": "tail", "n": 5}
        assert ask(client, "history_request", **history)["status"] == "ok"
        assert client.control("stack_request")["threads"][0]["name"] == "MainThread"
        assert client.control("interrupt_request")["status"] == "ok"
        assert client.control("shutdown_request")["status"] == "ok"
    assert (program.stdout, program.stderr) == ("up\n", "")
    assert program.is_running()


def test_cells_that_only_look(program: Program, launch: Launcher) -> None:
    with program.client() as client:
        threads = client.run("%threads").stdout
        assert threads.startswith("Thread MainThread (main)\n")
        assert "time.sleep(0.01)" in threads
        assert "Thread rtconsole" not in threads  # nor any other of ours
        # what clients send to hear of the execution count
        assert client.run("", silent=True).status == "ok"
        assert client.run("exit").payload == [{"source": "ask_exit", "keepkernel": True}]
        tail = client.send("%tail -n 3")
        speak(launch)
        # it has begun when it shows something: before, the line is seen, but not in its cell
        wait_for(lambda: client.iopub("stream")["parent_header"].get("msg_id") == tail, "the tail")
        client.interrupt()
        assert client.finish(tail).status == "ok"


def test_a_tail_that_is_interrupted_at_any_moment_is_answered(program: Program) -> None:
    with program.client() as client:

        def answer() -> str:
            client.interrupt()  # again, since the first one may have come too soon
            while client.kernel.shell_channel.msg_ready():
                message = client.kernel.get_shell_msg(timeout=PATIENCE)
                if message["parent_header"].get("msg_id") == tail:
                    return str(message["content"]["status"])
            return ""

        for _ in range(40):
            tail = client.send("%tail")
            assert wait_for(answer, "a reply") == "ok"


def speak(launch: Launcher) -> None:
    """Have the program print a line."""
    launch.home.joinpath("speak").touch()


def test_prints_are_seen(program: Program, launch: Launcher) -> None:
    with program.client() as client:
        speak(launch)
        assert "asked" in client.iopub("stream")["content"]["text"]


@pytest.mark.parametrize("value", ["1", "yes", "ture"])
def test_it_stays_so_whatever_the_program_does_to_its_environment(
    launch: Launcher, value: str
) -> None:
    program = launch(LOUD, "speak", "wiped", env={"RTCONSOLE_READONLY": value})
    program.wait_for_output("up")
    with program.client() as client:
        assert client.run("1").error == "CellRefused"
    assert ("taken as on" in program.log) == (value == "ture")


@pytest.mark.parametrize("value", ["0", "off", ""])
def test_off_is_off(launch: Launcher, value: str) -> None:
    program = launch("import time\ntime.sleep(60)", env={"RTCONSOLE_READONLY": value})
    with program.client() as client:
        assert client.run("1").result == "1"


def test_each_frontend_shows_one_clear_line(
    program: Program, launch: Launcher, attach: Attach
) -> None:
    assert program.connection_file
    for options in ([], ["--json"]):
        done = commands.run(launch, "exec", *options, str(program.pid), "number = 42")
        assert done.returncode == 7
        assert commands.complaint(done).endswith(f"): {REASON}")
    assert commands.run(launch, "stack", str(program.pid)).returncode == 0
    terminal = attach(program)
    terminal.expect("^You may look but not run: RTCONSOLE_READONLY.$")
    terminal.enter("number = 42")
    terminal.expect(f"^CellRefused: {REASON}$".replace(" ", r"\s"))
    terminal.enter("exit")
    assert terminal.wait() == 0
    script = launch.script("number = 42", "cell.py")
    done = commands.run_in_jupyter(launch, program.connection_file, script)
    assert done.returncode == 1
    assert f"CellRefused: {REASON}" in done.stdout + done.stderr, done
