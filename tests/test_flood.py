"""A program that never stops printing: clients get in, and those that are slow harm nobody."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from commands import run_in_jupyter
from harness import PATIENCE, Client, Launcher, wait_for
from mirrored import BUFFERS_ARE_SAFE, Obedient, Watch, flood, loyal, memory, watching

EVERY_MILLISECOND = """
import time
n = 0
while True:
    n += 1
    print("line", n, flush=True)
    time.sleep(0.001)
"""

# Runs a cell with nbclient, which takes the kernel for one that it has started.
NOTEBOOK = """
import sys, nbclient, nbformat
from jupyter_client.manager import AsyncKernelManager

class Existing(AsyncKernelManager):
    has_kernel = True
    async def is_alive(self): return True

cells = [nbformat.v4.new_code_cell("print('from a script', n > 0)")]
notebook = nbformat.v4.new_notebook(cells=cells)
for attempt in range(5):
    manager = Existing(connection_file=sys.argv[1])
    manager.load_connection_file()
    try:
        nbclient.NotebookClient(notebook, km=manager, timeout=60).execute()
        break
    except (RuntimeError, AssertionError):  # starved, it takes the kernel for dead
        pass
print(*(output["text"] for output in notebook.cells[0].outputs))
"""

SUBSCRIBERS = "get_ipython().kernel.iopub_thread.subscribers"


def test_every_kind_of_client_gets_in_during_a_flood(launch: Launcher) -> None:
    program = launch(EVERY_MILLISECOND)
    with program.client() as client:
        watch = Watch(client)
        first = watch.value("n")
        watch.wait_for("line")
        wait_for(lambda: watch.value("n") > first, "the program to go on")
        # a second one is let in as well, and what is held back meanwhile is not lost
        with program.client() as another:
            assert another.run("'in'").result == "'in'"
        until = watch.value("n")
        seen: list[int] = []
        while not seen or seen[-1] < until:
            watch.look(PATIENCE)
            seen = numbers(watch.text())
        assert seen == list(range(seen[0], seen[-1] + 1))
    script = launch.script("print('from a script', n > 0)", "cell.py")
    notebook = launch.script(NOTEBOOK, "notebook.py")
    ran = run_in_jupyter(launch, str(program.pid), script)
    assert "from a script True\n" in ran.stdout, ran
    ran = subprocess.run(
        [sys.executable, str(notebook), str(program.connection_file)],
        env=launch.environment(RTCONSOLE=None),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "from a script True\n" in ran.stdout, ran


def numbers(text: str) -> list[int]:
    return [int(line.split()[1]) for line in text.split("\n")[1:-1]]


@pytest.mark.parametrize("fate", ["stopped", "killed"])
def test_a_slow_or_vanished_client_harms_nobody(launch: Launcher, fate: str) -> None:
    obedient = Obedient(launch, flood(), env={"RTCONSOLE_BUFFER": "2M"})
    program = obedient.program
    with loyal(launch, program) as client, watching(program) as watch:
        obedient.do("thread = threading.Thread(target=flood); thread.start()")
        watch.wait_for("line 1000\n")
        before = memory(program.pid)
        client.send_signal(signal.SIGSTOP if fate == "stopped" else signal.SIGKILL)
        start = int(watch.run("printed").result)
        # How much fits into queues before any is dropped depends on how large messages get
        lost = f"sum(s.lost.lines for s in {SUBSCRIBERS} if s.process == {client.pid})"
        while (  # the other client is served
            int(watch.run("printed").result) < start + 100_000
            or (fate == "stopped" and not int(watch.run(lost).result))
        ):
            pass
        obedient.do("stop.set(); thread.join(); print('the end', flush=True)")
        seen = watch.wait_for("the end\n")
        printed = obedient.do("answer = printed")
        # With so small a buffer this one may be too slow as well, and is told so on stderr
        assert sum(received_and_dropped(seen + watch.text("stderr"))) == printed
        assert memory(program.pid) - before < 60 << 20
        if fate == "stopped":
            client.send_signal(signal.SIGCONT)
            assert client.stdout
            text = client.stdout.read().decode()
            received, dropped = received_and_dropped(text)
            assert dropped > 0
            first = int(re.findall(r"^line (\d+)$", text, re.M)[0])
            assert received + dropped == printed - first
    assert program.is_running()


def received_and_dropped(text: str) -> tuple[int, int]:
    """Count whole lines of a flood, and those that a notice says are missing."""
    notices = re.findall(r"\[rtconsole: ([\d,]+) lines? dropped\]\n", text)
    dropped = sum(int(number.replace(",", "")) for number in notices)
    return len(re.findall(r"line \d+\n", text)), dropped


def test_a_flood_of_short_lines_is_one_message_a_window_at_most(launch: Launcher) -> None:
    obedient = Obedient(launch, flood("300_000"))
    with watching(obedient.program) as watch:
        took = obedient.do("began = time.monotonic(); flood(); answer = time.monotonic() - began")
        obedient.do("print('the end', flush=True)")
        watch.wait_for("the end\n")
    texts = [message["content"]["text"] for message in watch.messages]
    # the others end in the next one: where some is dropped, no line has another one's end
    assert all(text.endswith("\n") for text in texts if len(text) > 1000)
    windows = took / 0.005 + 10  # and a few that may come sooner, after quiet
    assert 2 < len(texts) <= windows + sum(map(len, texts)) / (1 << 19)  # larger ones are cut


# Prints for as long as it keeps the interpreter to itself, as one that writes to a file may on
# a busy machine: by how much has memory grown at most?
SELFISH = """
import io, sys, threading
class Nowhere(io.RawIOBase):
    def writable(self): return True
    def write(self, data): return len(data)
def most():
    with open("/proc/self/status") as status: text = status.read()
    return int(text.partition("VmHWM:")[2].split()[0])
def flood():
    global answer
    before = most()
    sys.setswitchinterval(1000)
    for n in range(500_000): print("line", n)
    sys.setswitchinterval(0.005)
    answer = most() - before
class Plain:
    __slots__ = ()
    closed = False
    readable = seekable = lambda self: False
    writable = lambda self: True
    flush = lambda self: None
    write = lambda self, data: len(data)
sys.stdout = io.TextIOWrapper(io.BufferedWriter(Nowhere()))
"""


@pytest.mark.parametrize(
    "flood",
    [
        "thread = threading.Thread(target=flood); thread.start(); thread.join()",
        pytest.param(
            "flood()",
            marks=pytest.mark.skipif(not BUFFERS_ARE_SAFE, reason="no hook on its buffer"),
        ),
        "flood()  # on a buffer that takes no hook",
    ],
    ids=["in a thread", "in the main thread", "on a buffer that takes no hook"],
)
def test_memory_is_bounded_where_the_console_gets_no_turn(launch: Launcher, flood: str) -> None:
    before = SELFISH
    if "no hook" in flood:
        before += "sys.stdout = io.TextIOWrapper(Plain(), encoding='utf-8')\n"
    obedient = Obedient(launch, before, env={"RTCONSOLE_BUFFER": "2M"})
    with watching(obedient.program) as watch:
        assert obedient.do(flood) < 30 << 10
        obedient.do("print('the end', flush=True)")
        seen = watch.wait_for("the end\n")
        received, dropped = received_and_dropped(seen + watch.text("stderr"))
        assert received + dropped == 500_000
        assert dropped > 0
    assert obedient.program.is_running()


def test_lost_output_that_has_no_line_ends_is_told_of_too(launch: Launcher) -> None:
    # a progress bar
    obedient = Obedient(launch, "import sys", env={"RTCONSOLE_BUFFER": "2M"})
    with loyal(launch, obedient.program) as client, watching(obedient.program) as watch:
        client.send_signal(signal.SIGSTOP)
        obedient.do("for n in range(50): sys.stdout.write(f'{n}\\r' * 50_000)")
        obedient.do("print('the end', flush=True)")
        watch.wait_for("the end\n")
        client.send_signal(signal.SIGCONT)
        assert client.stdout
        text = client.stdout.read()
    assert re.search(rb"\[rtconsole: \d lines? dropped\]\n", text)
    assert 0 < text.count(b"49\r") <= 50_000


def test_a_client_that_keeps_up_gets_a_million_lines(launch: Launcher) -> None:
    obedient = Obedient(launch, flood("1_000_000"))
    with loyal(launch, obedient.program) as client:
        obedient.do("flood(); print('the end', flush=True)")
        assert client.stdout
        text = client.stdout.read()
    assert text == obedient.program.stdout_file.read_bytes()
    assert text.count(b"\n") == 1_000_001


def test_text_of_any_kind_arrives_in_messages_of_bounded_size(launch: Launcher) -> None:
    obedient = Obedient(launch, env={"RTCONSOLE_BUFFER": "300M"})
    with watching(obedient.program) as watch:
        obedient.do(
            """
            sys.stdout.reconfigure(errors="surrogateescape")
            print("nul \\0 bell \\a escape \\x1b[1m backspace \\b lone \\udc80 pair 𝄞")
            print("10%\\r20%\\r", end="")
            print("\\x00" * 2_000_000)
            print("\\"\\n" * 1_000_000)
            print("€" * 1_000_000)
            print("x" * 100_000_000)
            print("partial", end="", flush=True)
            """
        )
        seen = watch.wait_for("partial", patience=80)  # 100 MB, on a busy machine
        sizes = [len(str(m["content"]["text"]).encode()) for m in watch.messages]
        assert max(sizes) < 1_000_000
        begin = "nul \0 bell \a escape \x1b[1m backspace \b lone \\udc80 pair 𝄞\n10%\r20%\r"
        assert seen.startswith(begin + "\0\0")
        rest = seen.removeprefix(begin)
        assert rest.count("\0") == 2_000_000
        assert rest.count('"\n') == rest.count("€") == 1_000_000
        assert rest.count("x") == 100_000_000
        assert watch.run("print('a cell')").stdout == "a cell\n"


def test_large_text_arrives_as_it_was_printed_whatever_has_to_be_escaped(
    launch: Launcher,
) -> None:
    obedient = Obedient(launch)
    kinds = ["\\", '"', '\\"', "\\n", "\\\n", "\x7f\u2028", "𝄞\r", *map(chr, range(0x20))]
    with watching(obedient.program) as watch:
        for number, kind in enumerate(kinds):
            text = f"{kind}{'x' * 5000}{kind * 3}y\n{kind}" * 2 + f"\nthe end of {number}\n"
            obedient.do(f"sys.stdout.write({text!r}); sys.stdout.flush()")
            watch.wait_for(text)


def test_a_print_from_anywhere_during_a_flood_neither_waits_nor_is_lost(launch: Launcher) -> None:
    obedient = Obedient(
        launch,
        flood()
        + textwrap.dedent(
            """
            import gc, itertools, signal
            said = []
            numbers = itertools.count()
            def say(what):
                text = f"{what} {next(numbers)}\\n"
                try: sys.stdout.write(text)
                except RuntimeError: return  # "reentrant call", in the midst of another write
                said.append(text)
            class Finalized:
                def __init__(self): self.cycle = self
                def __del__(self): say("del")
            def on_signal(number, frame):
                say("signal")
                Finalized()
            def on_gc(phase, info): say("gc " + phase)
            signal.signal(signal.SIGALRM, on_signal)
            """
        ),
    )
    with watching(obedient.program) as watch:
        obedient.do(
            """
            sys.stdout.reconfigure(write_through=True)
            thread = threading.Thread(target=flood); thread.start()
            gc.callbacks.append(on_gc)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            while len(said) < 500:
                try: sys.stdout.write("main\\n")
                except RuntimeError: pass
                if len(said) % 10 == 0: gc.collect(0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.callbacks.remove(on_gc)
            gc.collect()
            stop.set(); thread.join()
            print("the end", flush=True)
            """
        )
        seen = watch.wait_for("the end\n")
        said = obedient.do("answer = said")
        assert {text.rsplit(" ", 1)[0] for text in said} == {"signal", "del", "gc start", "gc stop"}
        assert sorted(re.findall(r"(?:signal|del|gc \w+) \d+\n", seen)) == sorted(said)
    assert obedient.program.stderr == ""


def test_a_fork_during_a_flood_takes_no_output_along(launch: Launcher) -> None:
    obedient = Obedient(launch, flood())
    program = obedient.program
    folder = launch.home / "obedient0"
    with watching(program) as watch:
        obedient.do("thread = threading.Thread(target=flood); thread.start()")
        watch.wait_for("line 1000\n")
        children = obedient.do(
            """
            import warnings; warnings.simplefilter("ignore")
            answer = []
            for n in range(5):
                with lock: pid = os.fork()
                if pid == 0:
                    log = os.open(f"child{n}", os.O_WRONLY | os.O_CREAT)
                    os.dup2(log, 1)
                    before = sorted({"write", "flush", "tell"} & set(vars(sys.stdout)))
                    name = f"child {n}"
                    print(name, before, flush=True)
                    os.write(reports, b"")
                    time.sleep(60)
                    os._exit(0)
                answer.append(pid)
            """
        )
        try:
            for n, pid in enumerate(children):
                path = program.connection_file_of(pid)
                wait_for(path.exists, f"{path}")
                log = folder / f"child{n}"
                wait_for(lambda log=log: log.exists() and "child" in log.read_text(), f"{log}")
                if n:
                    continue
                child = Client(path).ready()
                try:
                    assert child.value("name") == f"child {n}"
                    own = Watch(child)
                    speak = "lambda: print('own', flush=True)"
                    child.send(f"threading.Thread(target={speak}).start()")
                    own.wait_for("own\n")
                    assert own.text() == "own\n"
                finally:
                    child.close()
            obedient.do("stop.set(); thread.join(); print('the end', flush=True)")
            seen = watch.wait_for("the end\n")
            assert "child" not in seen
            printed = obedient.do("answer = printed")
            assert sum(received_and_dropped(seen)) == printed
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
    # after what waited in the stream's buffer when it forked
    assert (folder / "child0").read_text().endswith("child 0 []\nown\n")
    assert (folder / "child4").read_text().endswith("child 4 []\n")
