"""The program's output reaches attached clients, and still goes where it went."""

import os
import signal

import pytest
from harness import Launcher, wait_for
from mirrored import BUFFERS_ARE_SAFE, Obedient, Watch, as_found, is_of_program, loyal, watching

WRITES = """
import logging, warnings
print("printed", 1, None)
print("a", "b", sep="-", end="!\\n")
sys.stdout.write("written\\n")
sys.stdout.writelines(["line 1\\n", "line 2\\n"])
sys.stdout.flush()
print("ä€𝄞 \\x1b[31mred\\x1b[0m \\0", flush=True)
print("an error", file=sys.stderr)
logging.getLogger().warning("from an old handler")
logging.getLogger("new").addHandler(logging.StreamHandler(sys.stderr))
logging.getLogger("new").propagate = False
logging.getLogger("new").warning("from a new handler")
warnings.warn("a warning")
def fail(): raise ArithmeticError("in a thread")
thread = threading.Thread(target=fail, name="failing")
thread.start()
thread.join()
def speak(): print("from a thread", flush=True)
thread = threading.Thread(target=speak, name="speaker")
thread.start()
thread.join()
print("the last", flush=True)
print("the last error", file=sys.stderr)
"""


BYTES = """
sys.stdout.flush()
sys.stdout.buffer.write("bytes ä€\\n".encode())
sys.stdout.buffer.flush()
sys.stderr.buffer.write(b"bytes of errors\\n")
"""


def test_all_that_is_written_is_seen_in_order_and_still_written(launch: Launcher) -> None:
    obedient = Obedient(launch, "import logging; logging.basicConfig(format='%(message)s')")
    program = obedient.program
    with watching(program) as watch, watching(program) as another:
        obedient.do((BYTES if BUFFERS_ARE_SAFE else "") + WRITES)
        for one in (watch, another):
            assert one.wait_for("the last\n") == program.stdout
            assert one.wait_for("the last error\n", "stderr") == program.stderr
        for text, stream in [
            ("from an old handler\n", "stderr"),
            ("from a new handler\n", "stderr"),
            ("UserWarning: a warning\n", "stderr"),
            ("ArithmeticError: in a thread\n", "stderr"),
            ("line 2\nä€𝄞 \x1b[31mred\x1b[0m \0\n", "stdout"),
        ]:
            assert text in watch.text(stream)
        assert thread_of(watch, "written\n") == "MainThread"
        assert thread_of(watch, "ArithmeticError") == "failing"
        assert thread_of(watch, "from a thread") == "speaker"
        obedient.tell("print('going'); raise LookupError('in main')")
        assert program.wait() == 1
        assert watch.wait_for("LookupError: in main\n", "stderr") == program.stderr
        assert watch.wait_for("going\n") == program.stdout


def thread_of(watch: Watch, text: str) -> str:
    (name,) = {
        m["metadata"]["rtconsole"]["thread"] for m in watch.messages if text in m["content"]["text"]
    }
    assert isinstance(name, str)
    return name


def test_every_thread_is_seen_in_its_own_order(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        obedient.do(
            """
            sys.stdout.reconfigure(write_through=True)
            def count(name):
                for n in range(500):
                    sys.stdout.write(f"{name} {n}\\n")
                    if n % 50 == 0: time.sleep(0.001)
            threads = [threading.Thread(target=count, args=[i], name=f"T{i}") for i in range(4)]
            for thread in threads: thread.start()
            count("main")
            for thread in threads: thread.join()
            print("end", flush=True)
            """
        )
        seen = watch.wait_for("end\n").splitlines()
        assert sorted(seen) == sorted(obedient.program.stdout.splitlines())
        for name in ("main", "0", "1", "2", "3"):
            own = [line.split()[1] for line in seen if line.split()[0] == name]
            assert own == [str(n) for n in range(500)]
        names = {m["metadata"]["rtconsole"]["thread"] for m in watch.messages}
        assert {part for name in names for part in name.split(", ")} >= {"MainThread", "T0"}


def test_a_cells_output_is_its_clients_and_the_programs_is_everybodys(launch: Launcher) -> None:
    obedient = Obedient(launch, before="def speak(): print('from a thread', flush=True)")
    with watching(obedient.program) as watch, watching(obedient.program) as another:
        reply = watch.run(
            """
            import asyncio, subprocess
            print("the cell")
            if sys.version_info >= (3, 12, 4): sys.stdout.buffer.write(b"the cell's bytes\\n")
            async def later(): print("awaited")
            await asyncio.create_task(later())
            await asyncio.to_thread(print, "in a thread of the cell's context")
            thread = threading.Thread(target=speak, name="started by a cell")
            thread.start(); thread.join()
            subprocess.run(["echo", "from a process"])
            with open(os.devnull, "w") as file: print("not shown", file=file)
            """
        )
        own = [m for m in reply.messages if m["msg_type"] == "stream"]
        text = "".join(m["content"]["text"] for m in own)
        expected = "the cell\nthe cell's bytes\nawaited\n"
        if not BUFFERS_ARE_SAFE:
            expected = expected.replace("the cell's bytes\n", "")
        assert text.startswith(expected)
        assert not any(is_of_program(message) for message in own)
        obedient.do("print('end', flush=True)")
        assert another.wait_for("end\n") == "from a thread\nend\n"
        assert thread_of(another, "from a thread") == "started by a cell"
        assert obedient.program.stdout == "from a thread\nfrom a process\nend\n"


def test_the_program_may_print_while_a_cell_does(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        cell = watch.client.send("for n in range(300): print('cell', n); time.sleep(0.0005)")
        obedient.do("for n in range(300): print('program', n); time.sleep(0.0005)")
        obedient.do("print('end', flush=True)")
        texts = {True: "", False: ""}
        idle = False
        while not idle or "end\n" not in texts[True]:
            message = watch.client.kernel.get_iopub_msg(timeout=30)
            if message["msg_type"] == "stream":
                texts[is_of_program(message)] += message["content"]["text"]
                if not is_of_program(message):
                    assert message["parent_header"]["msg_id"] == cell
                    assert not idle, "after the end of its cell"
            elif message["parent_header"].get("msg_id") == cell:
                idle = message["content"].get("execution_state") == "idle"
        assert texts[False].splitlines() == [f"cell {n}" for n in range(300)]
        assert texts[True] == obedient.program.stdout
        expected = [*(f"program {n}" for n in range(300)), "end"]
        assert texts[True].splitlines() == expected


@pytest.mark.parametrize("parent", [None, "last", "none"])
def test_the_programs_output_belongs_to_each_clients_last_cell(
    launch: Launcher, parent: str | None
) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_PARENT": parent})
    with watching(obedient.program) as watch:
        request = watch.client.send("last = 1")
        watch.finish(request)
        obedient.do("print('later', flush=True)")
        watch.wait_for("later\n")
        # a cell that runs has its own output to itself
        second = watch.client.send("begun = True\nwhile not globals().get('enough'): pass")
        obedient.do("while not globals().get('begun'): pass\nprint('meanwhile', flush=True)")
        watch.wait_for("meanwhile\n")
        obedient.do("enough = True")
        watch.finish(second)
        own = None if parent == "none" else request
        for message in watch.messages:
            text = message["content"]["text"]
            expected = own if text.startswith("later") else None
            # a line's end may come in a message of its own
            assert text == "\n" or message["parent_header"].get("msg_id") == expected, text
            assert message["metadata"] == {
                "rtconsole": {"origin": "program", "thread": "MainThread"}
            }


def test_redirect_sends_to_clients_only_while_there_are_any(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_OUTPUT": "redirect"})
    obedient.do("print('before', flush=True)")
    with watching(obedient.program) as watch:
        text = "answer = print('only to you'), sys.stdout.write('ä\\n'), sys.stdout.flush()"
        assert obedient.do(text) == (None, 2, None)
        if BUFFERS_ARE_SAFE:
            assert obedient.do("answer = sys.stdout.buffer.write(b'bytes\\n')") == 6
        obedient.do("print('and errors', file=sys.stderr)")
        expected = "only to you\nä\n" + ("bytes\n" if BUFFERS_ARE_SAFE else "")
        assert watch.wait_for(expected) == expected
        assert watch.wait_for("errors\n", "stderr") == "and errors\n"
        assert watch.run("%mirror").stdout == "mirror: redirect\n"
        assert obedient.do(
            """
            answer = []
            for bad in (3, b"bytes", None):
                try: sys.stdout.write(bad)
                except TypeError as error: answer.append(str(error))
            """
        ) == [f"write() argument must be str, not {kind}" for kind in ("int", "bytes", "None")]
        obedient.do("sys.stdout.flush()")
    wait_for(lambda: as_found(obedient), "the streams to be as found")
    obedient.do("print('after', flush=True)")
    assert (obedient.program.stdout, obedient.program.stderr) == ("before\nafter\n", "")


def test_the_mode_changes_in_a_live_session(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_OUTPUT": "errors"})

    def speak(word: str) -> None:
        obedient.do(f"print({word!r}, flush=True); print({word!r}, file=sys.stderr, flush=True)")

    with watching(obedient.program) as watch:
        client = watch.client
        assert client.run("%mirror").stdout == "mirror: errors\n"
        speak("errors")
        assert watch.wait_for("errors\n", "stderr") == "errors\n"
        for mode in ("off", "redirect", "tee"):
            assert client.run(f"%mirror {mode}").stdout == f"mirror: {mode}\n"
            if mode == "off":
                wait_for(lambda: as_found(obedient), "the streams to be as found")
            speak(mode)
            if mode != "off":
                watch.wait_for(f"{mode}\n", "stderr")
        assert watch.text("stderr").split() == ["errors", "redirect", "tee"]
        assert watch.text().split() == ["redirect", "tee"]
        reply = client.run("%mirror loud")
        assert (reply.error, client.run("%mirror").stdout) == ("UsageError", "mirror: tee\n")
        assert client.run("print('a cell')").stdout == "a cell\n"
    written = ["errors", "off", "tee"]
    assert obedient.program.stdout.split() == obedient.program.stderr.split() == written


def test_a_wrong_mode_in_the_environment_means_the_default(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_OUTPUT": "loud"})
    with watching(obedient.program) as watch:
        assert watch.run("%mirror").stdout == "mirror: tee\n"
    assert "RTCONSOLE_OUTPUT='loud' is none of tee, redirect" in obedient.program.log
    assert obedient.program.stderr == ""


@pytest.mark.parametrize("how", ["closed", "killed", "stopped and killed"])
def test_streams_are_as_found_when_the_last_client_has_gone(launch: Launcher, how: str) -> None:
    obedient = Obedient(launch)
    assert as_found(obedient)
    held = "held = sys.stdout.write, sys.stdout.flush, sys.stderr.write"
    if how == "closed":
        with watching(obedient.program) as watch:
            assert not as_found(obedient)
            obedient.do(held)
            obedient.do("print('seen', flush=True)")
            watch.wait_for("seen\n")
    else:
        with loyal(launch, obedient.program) as client:
            assert not as_found(obedient)
            obedient.do(held)
            if how == "stopped and killed":
                client.send_signal(signal.SIGSTOP)
    wait_for(lambda: as_found(obedient), "the streams to be as found")
    # and who got hold of a hook writes where the stream does
    obedient.do("held[0]('by a hook that was kept\\n'); held[1](); held[2]('this too\\n')")
    assert obedient.program.stdout.endswith("by a hook that was kept\n")
    assert obedient.program.stderr == "this too\n"
    with watching(obedient.program) as watch:
        obedient.do("print('seen again', flush=True)")
        assert watch.wait_for("seen again\n") == "seen again\n"


def test_dormant_streams_are_untouched_and_cells_leave_them_so(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_OUTPUT": "off"})
    assert as_found(obedient)
    with watching(obedient.program) as watch:
        wait_for(lambda: as_found(obedient), "the streams to be as found")
        cell = watch.client.send("begun = True\nwhile begun: time.sleep(0.01)\nprint('over')")
        wait_for(lambda: obedient.do("answer = globals().get('begun')"), "the cell to begin")
        obedient.do("print('not seen', flush=True)")
        obedient.do("begun = False")
        reply = watch.finish(cell)
        assert reply.stdout == "over\n"
        wait_for(lambda: as_found(obedient), "the streams to be as found")
        watch.run("")
        assert watch.text() == ""
    assert obedient.program.stdout == "not seen\n"


def test_a_cell_asks_its_client_while_the_program_reads_its_own_stdin(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        client = watch.client
        request = client.send("mine = input('Cell? ')", allow_stdin=True)
        asked = client.kernel.get_stdin_msg(timeout=30)["content"]
        assert asked["prompt"] == "Cell? "
        obedient.tell("answer = input('Program? ')")
        stdin = obedient.program.process.stdin
        assert stdin
        stdin.write(b"the program's line\n")
        stdin.flush()
        assert obedient._report() == "the program's line"
        assert watch.wait_for("Program? ") == "Program? "
        client.kernel.input("the client's line")
        client.finish(request)
        assert client.value("mine") == "the client's line"


def test_what_is_neither_a_line_nor_flushed_is_seen_at_once(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        obedient.do("print('no newline', end='')")
        assert watch.wait_for("no newline") == "no newline"
        assert obedient.program.stdout == "", "it is flushed by the program only"
    assert obedient.end() == 0
    assert os.path.getsize(obedient.program.stdout_file) > 0
