"""``%tail``, and what was kept of the program's output from before somebody came."""

from harness import Client, Launcher, Reply, wait_for
from mirrored import Obedient, Watch, is_of_program, watching


def of_cell(messages: list[dict], stream: str = "stdout") -> str:  # type: ignore[type-arg]
    return "".join(
        m["content"]["text"]
        for m in messages
        if m["msg_type"] == "stream" and m["content"]["name"] == stream
    )


class Tailing:
    """A ``%tail`` that runs."""

    def __init__(self, watch: Watch, options: str = "") -> None:
        self.watch = watch
        self.request = watch.client.send(f"%tail {options}")
        self.messages: list[dict] = []  # type: ignore[type-arg]

    def wait_for(self, text: str, stream: str = "stdout") -> str:
        while text not in (seen := of_cell(self.messages, stream)):
            message = self.watch.client.kernel.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") == self.request:
                self.messages.append(message)
        return seen

    def interrupt(self) -> Reply:
        self.watch.client.interrupt()
        return self.watch.client.finish(self.request)


def begin(watch: Watch, obedient: Obedient, options: str = "", n: int = 0) -> Tailing:
    """Start a tail, and wait until it shows what is written."""
    tailing = Tailing(watch, options)
    wait_for(
        lambda: obedient.do(
            "import sys; k = sys.modules.get('rtconsole.listener');"
            "from ipykernel.kernelbase import Kernel; import gc;"
            f"answer = any(len(o.tails) > {n} for o in gc.get_objects()"
            " if type(o).__name__ == 'Publisher')"
        ),
        "the tail",
    )
    return tailing


def test_tail_shows_the_programs_output_in_its_cell_until_interrupted(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        tailing = begin(watch, obedient)
        obedient.do("print('line ä', 1); print('error', file=sys.stderr)")
        assert tailing.wait_for("\n") == "line ä 1\n"
        assert tailing.wait_for("error\n", "stderr") == "error\n"
        assert all(is_of_program(m) for m in tailing.messages if m["msg_type"] == "stream")
        reply = tailing.interrupt()
        assert reply.status == "ok"
        obedient.do("print('after', flush=True)")
        assert watch.wait_for("after\n").endswith("after\n")
        assert watch.client.run("%tail -t 0").status == "ok"
        for wrong in ("-s stdin", "-e (", "-t x", "-n -1", "rest", "-x"):
            assert watch.client.run(f"%tail {wrong}").error == "UsageError", wrong
    assert obedient.program.stdout == "line ä 1\nafter\n"


def test_tail_chooses_lines_and_streams_and_begins_with_what_was_kept(launch: Launcher) -> None:
    obedient = Obedient(launch)
    with watching(obedient.program) as watch:
        obedient.do("for n in range(30): print('kept', n)")
        obedient.do("print('an error', file=sys.stderr)")
        watch.wait_for("kept 29\n")
        watch.wait_for("an error\n", "stderr")
        run = watch.client.run
        reply = run("%tail -n 3 -t 0")
        assert (reply.stdout, reply.stderr) == ("kept 28\nkept 29\n", "an error\n")
        reply = run("%tail -n 100 -t 0 -s stdout -e '2[5-7]$'")
        assert (reply.stdout, reply.stderr) == ("kept 25\nkept 26\nkept 27\n", "")
        reply = run("%tail -n 100 -t 0 -s stderr")
        assert (reply.stdout, reply.stderr) == ("", "an error\n")
        errors = begin(watch, obedient, "-s stderr -t 600")
        obedient.do("print('not this'); print('but this', file=sys.stderr)")
        assert errors.wait_for("but this\n", "stderr") == "but this\n"
        assert of_cell(errors.messages) == ""
        errors.interrupt()
        chosen = begin(watch, obedient, "-e 'mat+er'")
        obedient.do(
            """
            for part in ("mat", "ters\\nnot this\\nno ", "matter", "\\nmat", "ter 3 is unfinished"):
                sys.stdout.write(part); time.sleep(0.02)
            """
        )
        assert chosen.wait_for("no matter\n") == "matters\nno matter\n"
        assert chosen.interrupt().stdout.endswith("matter 3 is unfinished")


def test_the_last_words_of_a_stuck_program_are_kept_from_its_start(launch: Launcher) -> None:
    program = launch(
        """
        import sys, threading
        sys.stdout.write("from the start\\n" * 10)
        for n in range(20_000): print("line", n)
        print("an error ä", file=sys.stderr)
        print("the last words", end="")
        lock = threading.Lock()
        lock.acquire()
        open("stuck", "w").close()
        lock.acquire()
        """,
        env={"RTCONSOLE_HISTORY": "1k"},
        cwd=launch.home,
    )
    wait_for((launch.home / "stuck").exists, "the program to get stuck")
    with program.client(ready=False) as client:
        watch = Watch(client)
        seen = watch.wait_for("the last words")
        errors = watch.wait_for("an error ä\n", "stderr")
        assert len(seen + errors) == 1024
        assert seen.endswith("line 19998\nline 19999\nthe last words")
        metadata = [m["metadata"]["rtconsole"] for m in watch.messages]
        assert all(each["kept"] is True and each["thread"] is None for each in metadata)
        client.ready()
        reply = client.run("%tail -n 3 -t 0")
        assert (reply.stdout, reply.stderr) == ("line 19999\nthe last words", "an error ä\n")
        with program.client(ready=False) as another:  # everybody who comes, and nobody twice
            Watch(another).wait_for("the last words")
        assert client.run("'only once'").result == "'only once'"
    assert program.stdout.startswith("from the start\n")


def test_history_leaves_output_and_streams_alone(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_HISTORY": "64k"})
    assert obedient.do(
        """
        answer = []
        for wrong in (3, None, b""):
            try: sys.stdout.write(wrong)
            except TypeError as error: answer.append(str(error))
        answer.append(sys.stdout.write("kept\\n"))
        """
    ) == [*(f"write() argument must be str, not {k}" for k in ("int", "None", "bytes")), 5]
    before = obedient.do("answer = [id(sys.stdout), id(sys.stdout.write), list(vars(sys.stdout))]")
    for n in range(2):
        with obedient.program.client(ready=False) as client:
            watch = Watch(client)
            assert watch.wait_for("kept\n").startswith("kept\n")
            client.ready()
            obedient.do("print('printed', flush=True)")
            assert watch.wait_for((n + 1) * "printed\n") == "kept\n" + (n + 1) * "printed\n"
        wait_for(
            lambda: (
                obedient.do(
                    "answer = [id(sys.stdout), id(sys.stdout.write), list(vars(sys.stdout))]"
                )
                == before
            ),
            "the streams to be as they were",
        )
    obedient.do("print('alone', flush=True)")
    with obedient.program.client() as client:
        assert client.run("%tail -n 3 -t 0").stdout == "printed\nprinted\nalone\n"
    assert obedient.program.stdout == "kept\nprinted\nprinted\nalone\n"
    assert obedient.end() == 0


def test_a_forked_child_keeps_its_own_words(launch: Launcher) -> None:
    program = launch(
        """
        import os, time
        print("before the fork", flush=True)
        pid = os.fork()
        print("the child's" if pid == 0 else "the parent's", flush=True)
        if pid: print("pid", pid, flush=True)
        time.sleep(60)
        """,
        env={"RTCONSOLE_HISTORY": "64k"},
    )
    wait_for(lambda: "pid " in program.stdout and "child" in program.stdout, "both")
    pid = int(program.stdout.split("pid ")[1].split()[0])
    path = program.connection_file_of(pid)
    wait_for(path.exists, f"{path}")
    child = Client(path).ready()
    try:
        assert child.run("%tail -n 9 -t 0").stdout == "the child's\n"
        with program.client() as client:
            text = client.run("%tail -n 9 -t 0").stdout
            assert text == f"before the fork\nthe parent's\npid {pid}\n"
    finally:
        child.send("os._exit(0)")
        child.close()
