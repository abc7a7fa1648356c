"""Processes that a cell starts: as the program would start them, above all with its signals."""

import json
import os
import signal
import sys
from collections.abc import Iterator

import alike
import pytest
from harness import Client, Launcher, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LOOP = """
if __name__ == "__main__":
    import time
    time.sleep(600)
"""

# Tells what a process has inherited: blocked and ignored signals, open descriptors, and more.
TELL = """
import json, os, signal, sys
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([
    fields["SigBlk"].strip(),
    signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN,
    sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
    os.getcwd(), os.environ.get("MARK"), sys.argv[1:],
    os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(),
    sys.stdin.read() if "read" in sys.argv else None,
]))
sys.exit(3)
"""

# How a process is started, and told apart; each leaves [status, output].
WAYS = {
    "plain": "run([*tell])",
    "by its name": "run(['python', *tell[1:]], env={**os.environ, 'PATH': bin})",
    "with input": "run([*tell, 'read'], input='ä')",
    "elsewhere": "run(tell, cwd=sys.prefix)",
    "with an environment": "run([*tell, b'bytes', 'ä'], env={'MARK': '1'})",
    "in a session": "run(tell, start_new_session=True)",
    "in a group": "run(tell, process_group=0)",
    "with a descriptor": "run(tell, pass_fds=[spare[0]])",
    "with all descriptors": "run(tell, close_fds=False)",
    "without restored signals": "run(tell, restore_signals=False)",
    "with a function": "run(tell, preexec_fn=lambda: os.chdir(sys.prefix))",
    "by a shell": "run(shlex.join(tell), shell=True)",
    "with merged streams": "run(tell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)",
    "that is not there": "run(['no-such-program'])",
    "that is not there, in full": "run(['/no/such/program'])",
    "that cannot be run": "run([script])",
    "nowhere": "run(tell, cwd='/no/such/folder')",
    "of another name": "run(['a name', *tell[1:]], executable=sys.executable)",
}
HELPER = """
import os, shlex, subprocess, sys
script = os.path.abspath("tell.py")
tell = [sys.executable, "-E", "-S", script]
bin = os.path.dirname(sys.executable)
spare = os.pipe()
os.set_inheritable(spare[1], True)

def run(*arguments, **options):
    options.setdefault("stdout", subprocess.PIPE)
    try: done = subprocess.run(*arguments, text=True, **options)
    except OSError as error: return type(error).__name__, str(error), error.filename
    return done.returncode, done.stdout, done.stderr

def run_all(ways):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork beside threads: not of what this is about
        return {way: eval(code) for way, code in ways.items()}
"""


@pytest.fixture
def client(launch: Launcher) -> Iterator[Client]:
    """A client of a program that does nothing."""
    with launch(LOOP).client() as client:
        yield client


def test_what_a_cell_starts_is_as_if_the_program_had(launch: Launcher) -> None:
    launch.script(HELPER, "helper.py")
    launch.script(TELL, "tell.py")
    told = f"import helper, json; print(json.dumps(helper.run_all({WAYS})), flush=True)"
    program = launch(f"{told}\n{LOOP}", cwd=launch.home)
    program.wait_for_output("\n")
    with program.client() as client:
        reply = client.run(told)
    assert reply.status == "ok", reply
    theirs, ours = (json.loads(text) for text in (program.stdout, reply.stdout))
    assert ours["plain"][0] == 3
    # the kernel, too, may have inheritable ones open
    ours["with all descriptors"][1] = theirs["with all descriptors"][1]
    assert ours == theirs


STARTS = {
    "subprocess": "child = subprocess.Popen(['sleep', '60']); pid = child.pid",
    "a shell": "child = subprocess.Popen('exec sleep 60', shell=True); pid = child.pid",
    "os.posix_spawn": "pid = os.posix_spawn('/bin/sleep', ['sleep', '60'], os.environ)",
    "os.posix_spawnp": "pid = os.posix_spawnp('sleep', ['sleep', '60'], os.environ)",
    "os.spawnvp": "pid = os.spawnvp(os.P_NOWAIT, 'sleep', ['sleep', '60'])",
    "os.fork": "pid = os.fork()\nif not pid: os.execvp('sleep', ['sleep', '60'])",
    "asyncio": "child = await asyncio.create_subprocess_exec('sleep', '60'); pid = child.pid",
    "a magic": "%%script --bg --proc child sleep 60\nnot read",
    "multiprocessing": "child = spawn.Process(target=time.sleep, args=[60]); child.start();"
    " pid = child.pid",
}


def test_what_a_cell_starts_can_be_terminated(client: Client) -> None:
    client.run("import asyncio, multiprocessing, os, signal, subprocess, time, warnings")
    client.run("warnings.simplefilter('ignore')  # of a fork beside threads")
    client.run("spawn = multiprocessing.get_context('spawn')")
    for way, code in STARTS.items():
        reply = client.run(code)
        assert reply.status == "ok", (way, reply.traceback)
        pid = client.value("child.pid if 'magic' in " + repr(way) + " else pid")
        wait_for(lambda pid=pid: alike.status_of(pid, "SigBlk") == "0" * 16, f"{way} to start")
        client.run(f"os.kill({pid}, signal.SIGTERM)")
        wait_for(lambda pid=pid: not alike.is_alive(pid), f"the end of what was started by {way}")


def test_a_pipe_that_nobody_reads_ends_what_a_cell_runs(client: Client) -> None:
    reply = client.run("import subprocess; subprocess.run('yes | head -n 1', shell=True)")
    assert reply.status == "ok", reply
    reply = client.run("%%bash\nset -o pipefail\nyes | head -n 1\necho $?")
    assert reply.stdout == "y\n141\n", reply
    assert client.run("!timeout 0.1 sleep 60; echo $?").stdout.strip() == "124"
    assert client.run("import os; os.system('timeout 0.1 sleep 60') >> 8").result == "124"
    assert client.run("os.system('kill -TERM $$')").result == "15"


def test_a_signal_that_the_program_waits_for_is_not_taken_by_what_a_cell_starts(
    launch: Launcher,
) -> None:
    # pending all the time: whoever unblocked it, for however short, would be killed by it
    program = launch(
        """
        import os, signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        while not os.path.exists("end"): time.sleep(0.01)
        print(signal.sigwait([signal.SIGUSR1]))
        """,
        cwd=launch.home,
    )
    with program.client() as client:
        client.run("import subprocess, os")
        starts = "for _ in range(50): subprocess.run(['true']); os.system('true')"
        assert client.run(starts).status == "ok"
        assert client.run("!true").status == "ok"
        (launch.home / "end").touch()
        assert program.wait() == 0
    assert program.stdout == f"{int(signal.SIGUSR1)}\n"


def test_os_system_in_a_cell_leaves_the_programs_signals_alone(launch: Launcher) -> None:
    program = launch("""
        import time
        try:
            while True: time.sleep(0.01)
        except KeyboardInterrupt: print("interrupted")
        """)
    with program.client() as client:
        request = client.send("import os; print(1); os.system('sleep 60 & echo $!; wait')")
        wait_for(lambda: client.iopub("execute_input"), "the cell")
        wait_for(lambda: program.stdout, "the command")
        sleeper = int(program.stdout)
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        os.kill(sleeper, signal.SIGKILL)
    assert program.stdout == f"{sleeper}\ninterrupted\n", request


def test_a_thread_of_the_program_starts_processes_as_ever_beside_a_cell(launch: Launcher) -> None:
    source = f"""
import json, traceback
import helper
print(json.dumps(helper.run_all({WAYS})), flush=True)
for start in lambda: os.posix_spawn("/no/such/program", ["x"], os.environ), lambda: os.system(1):
    try: start()
    except (OSError, TypeError): traceback.print_exc()
"""
    launch.script(HELPER, "helper.py")
    launch.script(TELL, "tell.py")
    expected = alike.outcome(launch, source, "without")
    assert expected[0] == 0, expected
    assert alike.outcome(launch, source, "in a cell") == expected


# Of what a thread inherits and hands on: what it blocks, and how a process of its ends.
THREADS = """
import hashlib, os, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
def blocked():
    with open("/proc/thread-self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("SigBlk"))
def end_one(**options):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **options)
    process.terminate()
    try: return process.wait(10)
    except subprocess.TimeoutExpired: process.kill(); return "goes on"
    finally: process.stdin.close()
"""

BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])"


# What the main thread does while a cell starts a thread, the interpreter's lock let go of mostly.
COMPUTES = "hashlib.pbkdf2_hmac('sha256', b'', b'', (1 << 31) - 1)"
STARVES = f"""
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # of this thread
busy = f"import os; any(os.getppid() != {{os.getpid()}} for _ in iter(int, 1))"
subprocess.Popen([sys.executable, "-I", "-c", busy])
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
{COMPUTES}
"""
OCCUPATIONS = {
    "sleeps": "time.sleep(600)",
    "computes": "while True: pass",
    "computes in C": COMPUTES,
    "waits for a processor": STARVES,
    "waits for signals": "signal.sigwait([signal.SIGUSR1])",
}


@pytest.mark.parametrize(
    ("before", "occupation"),
    [("", "sleeps"), *((BLOCKED, occupation) for occupation in OCCUPATIONS)],
)
def test_a_thread_that_a_cell_starts_blocks_what_the_main_thread_does(
    launch: Launcher, before: str, occupation: str
) -> None:
    begin = f"main = blocked()\nprint('up', flush=True)\n{OCCUPATIONS[occupation]}"
    program = launch(f"{THREADS}\n{before}\n{begin}")
    program.wait_for_output("up")
    with program.client() as client:
        starts = "[ThreadPoolExecutor(1).submit(blocked).result() for _ in range(10)]"
        assert client.value(f"set({starts}) == {{main}}")
        client.run("said = []\nthreading.Thread(target=lambda: said.append(blocked())).start()")
        wait_for(lambda: client.value("said"), "the thread")
        assert client.value("said") == [client.value("main")]
        assert client.value("blocked() != main")  # the cell's own


def test_what_a_pools_worker_starts_can_be_terminated_though_a_cell_started_the_worker(
    launch: Launcher,
) -> None:
    os.mkfifo(launch.home / "go")
    program = launch(
        THREADS + "print('up', flush=True)\n"
        "open('go').read()\n"  # asleep, as above
        "print(pool.submit(end_one).result())",
        cwd=launch.home,
    )
    program.wait_for_output("up")
    with program.client() as client:
        client.run("pool.submit(int).result()")
    (launch.home / "go").write_text("go")
    assert program.wait() == 0, program.describe()
    assert program.stdout == f"up\n{-signal.SIGTERM}\n"


def test_what_a_cell_starts_with_a_umask_can_be_terminated(launch: Launcher) -> None:
    program = launch(THREADS + "print('up', flush=True)\ntime.sleep(600)")  # asleep, as above
    program.wait_for_output("up")
    with program.client() as client:
        assert client.value("end_one(umask=0o22)") == -signal.SIGTERM


def test_a_signal_that_is_waited_for_goes_to_no_thread_of_a_cell(launch: Launcher) -> None:
    program = launch(
        f"{THREADS}\n{BLOCKED}\nprint('up', flush=True)\n"
        "for n in range(101): signal.sigwait([signal.SIGUSR1]); print('got', n, flush=True)"
    )
    program.wait_for_output("up")
    with program.client() as client:
        request = client.send(
            "while True:\n    thread = threading.Thread(target=int)\n"
            "    thread.start()\n    thread.join()"
        )
        for number in range(100):
            program.signal(signal.SIGUSR1)
            program.wait_for_output(f"got {number}\n")
        client.interrupt()
        client.finish(request)
