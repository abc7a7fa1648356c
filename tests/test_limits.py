"""What a process may not do, or has no room for: the program goes on as it would without us."""

import os
import queue
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
from contextlib import closing, suppress
from pathlib import Path

import alike
import pytest
from commands import AS_SOMEBODY, SOMEBODY, needs_users
from harness import PATIENCE, Client, Launcher, Program, wait_for

import rtconsole

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")

# What a program may have less of than a kernel takes, and what somebody who attaches then meets.
# (With 16 descriptors from its start on it has no console: test_sitehook.)
SERVED, TOLD, SILENCE = "served", "told", "silence"
LIMITS = {
    "56 descriptors": (resource.RLIMIT_NOFILE, 56, SILENCE),
    "128 descriptors": (resource.RLIMIT_NOFILE, 128, SERVED),
    # A thread of Python's reserves 72 MB, of which it uses hardly any.
    "4 MB more": (resource.RLIMIT_AS, -(4 << 20), SILENCE),
    "100 MB more": (resource.RLIMIT_AS, -(100 << 20), TOLD),
    "1,000 MB of addresses": (resource.RLIMIT_AS, 1000 << 20, SERVED),
    "64 MB of data": (resource.RLIMIT_DATA, 64 << 20, TOLD),
    "1 MB of locked memory": (resource.RLIMIT_MEMLOCK, 1 << 20, SERVED),
    "files of 64 bytes": (resource.RLIMIT_FSIZE, 64, SERVED),
}

# A program that sees whether it still gets what it needs, until a client has been there.
WORKS = """
import os, resource, sys, time
limit = int(sys.argv[1]), int(sys.argv[2])
if limit[1] < 0:
    with open("/proc/self/statm") as file: pages = int(file.read().split()[0])
    limit = limit[0], pages * resource.getpagesize() - limit[1]
resource.setrlimit(limit[0], (limit[1], limit[1]))
print("limited", flush=True)
deadline = time.monotonic() + float(sys.argv[3])
rounds = 0
while time.monotonic() < deadline and not os.path.exists("go"):
    with open(__file__) as first, open(os.devnull) as second: first.read()
    bytearray(1 << 20)
    rounds += 1
    time.sleep(0.001)
print("worked", rounds > 0)
sys.exit(4)
"""


def limited(launch: Launcher, limit: str, seconds: float, *, watched: bool) -> Program:
    kind, number, _ = LIMITS[limit]
    env = None if watched else {"RTCONSOLE": None}
    arguments = (str(kind), str(number), str(seconds))
    program = launch(WORKS, *arguments, env=env, cwd=launch.home)
    program.wait_for_output("limited")
    return program


def knock(connection_file: Path) -> Client:
    """Connect, and ask something; whether it is answered is another matter."""
    client = Client(connection_file)
    client.send("t = 1")
    return client


@pytest.mark.parametrize("limit", LIMITS)
def test_a_visit_takes_nothing_that_the_program_needs(launch: Launcher, limit: str) -> None:
    expected = limited(launch, limit, 0, watched=False)
    assert (expected.wait(), expected.stderr) == (4, ""), expected.describe()
    program = limited(launch, limit, 20, watched=True)
    with closing(knock(program.connection_file)) as client:
        try:
            reply = client.kernel.get_shell_msg(
                timeout=3 if LIMITS[limit][2] == SILENCE else PATIENCE
            )
        except queue.Empty:
            met = SILENCE
        else:
            met = SERVED if reply["content"]["status"] == "ok" else TOLD
        assert met == LIMITS[limit][2], program.describe()
        (launch.home / "go").touch()
        ended = program.wait(), program.stdout, program.stderr
    assert ended == (4, "limited\nworked True\n", ""), program.describe()
    assert alike.files(launch) == []


@needs_users
def test_a_visit_where_there_is_no_thread_to_be_had_is_told_so(launch: Launcher) -> None:
    script = launch.script(WORKS)
    for path in (launch.home, *launch.home.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    for few in (2, 6):  # it has two; the first of a kernel's might be had
        arguments = (str(script), str(resource.RLIMIT_NPROC), str(few), "20")
        python = [*AS_SOMEBODY, sys.executable]
        program = launch(None, *arguments, python=python, cwd=launch.home)
        program.wait_for_output("limited")
        with closing(knock(program.connection_file)) as client:
            reply = client.kernel.get_shell_msg(timeout=PATIENCE)["content"]
            assert "can't start new thread" in str(reply)
            (launch.home / "go").touch()
            ended = program.wait(), program.stdout, program.stderr
        assert ended == (4, "limited\nworked True\n", ""), program.describe()
        (launch.home / "go").unlink()


@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_a_program_that_starts_with_little_memory_ends_as_without_us(
    launch: Launcher, kind: str
) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_{kind}, 2 * (int(sys.argv[1]) << 20,))"
    code = f"import os, resource, sys; {limit}; os.execv(sys.argv[2], sys.argv[2:])"
    source = "import os; print(len(bytes(1 << 20))); raise SystemExit(3)"
    for megabytes in (24, 32, 64, 96):
        python = [sys.executable, "-E", "-c", code, str(megabytes), sys.executable]
        program = launch(source, python=python)
        assert (program.wait(), program.stdout, program.stderr) == (3, "1048576\n", "")
        assert alike.files(launch) == []


def test_a_program_with_few_descriptors_forks_and_ends_as_without_us(launch: Launcher) -> None:
    source = """
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        held = []
        while True:
            try: held.append(os.open("/", os.O_RDONLY))
            except OSError: break
        for _ in range(3):
            pid = os.fork()
            if pid == 0: os._exit(len(held) == 0)
            print(os.waitpid(pid, 0)[1])
        """
    expected = launch(source, env={"RTCONSOLE": None})
    assert (expected.wait(), expected.stderr) == (0, "")
    program = launch(source)
    assert (program.wait(), program.stdout, program.stderr) == (0, expected.stdout, "")
    assert alike.files(launch) == []


# -- disks -------------------------------------------------------------------------------------


def may_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if not shutil.which("unshare") or not Path("/mnt").is_dir():
        return False
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="no mounts of our own here")


def on_a_disk(launch: Launcher, shell: str) -> list[str]:
    """Return the start of a command line: in a namespace with a small disk as the home."""
    disk = launch.home / "disk"
    disk.mkdir(exist_ok=True)
    line = f'mount -t tmpfs -o size=64k none {disk} && cd {disk} && {shell}; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", textwrap.dedent(line), "sh", sys.executable]


DISKS = {
    "full": "cat /dev/zero > full 2> /dev/null",
    "full but for the folders": "mkdir -p -m 700 .local/share/jupyter/runtime run/rtconsole;"
    " chmod 700 run . .local; cat /dev/zero > full 2> /dev/null",
    "read-only": "mount -o remount,ro .",
    "without links": "mkdir -p -m 700 .local/share/jupyter/runtime/external_kernels",
}


@needs_mounts
@pytest.mark.parametrize("disk", DISKS)
def test_a_program_ends_as_without_us_on_a_disk_that_is(launch: Launcher, disk: str) -> None:
    python = on_a_disk(launch, DISKS[disk])
    home = str(launch.home / "disk")
    script = str(launch.script("print('words'); raise SystemExit(3)"))
    for transport in ("ipc", "tcp"):
        env = {"HOME": home, "XDG_RUNTIME_DIR": f"{home}/run", "TMPDIR": home}
        env["RTCONSOLE_TRANSPORT"] = transport
        program = launch(None, script, python=python, env=env)
        assert (program.wait(), program.stdout, program.stderr) == (3, "words\n", "")


@needs_mounts
def test_a_disk_that_fills_up_later_hurts_neither_program_nor_console(launch: Launcher) -> None:
    source = """
        import os, time
        try:
            with open(os.path.expanduser("~/filling"), "wb", 0) as file:
                while True: file.write(bytes(4096))
        except OSError as error: print(error.errno, flush=True)
        while not os.path.exists("/proc/self/fd/0/none") and not globals().get("done"):
            time.sleep(0.01)
        for _ in range(2):
            pid = os.fork()
            if pid == 0: os._exit(0)
            print(os.waitpid(pid, 0)[1], flush=True)
        """
    home = launch.home / "disk"
    script = str(launch.script(source))
    env = {"HOME": str(home), "PYTHONWARNINGS": "ignore"}  # of a fork beside the kernel
    program = launch(None, script, python=on_a_disk(launch, ":"), env=env)
    program.wait_for_output("28\n")
    inside = Path(f"/proc/{program.pid}/root{home}/.local/share/jupyter/runtime")
    with closing(Client(inside / f"kernel-rt-{program.pid}.json")) as client:
        assert client.ready().value("6 * 7") == 42
        client.send("done = True")
        assert (program.wait(), program.stdout, program.stderr) == (0, "28\n0\n0\n", "")


# -- users, folders, roots ---------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("is_readable", [True, False])
def test_a_program_that_drops_its_privileges_forks_as_without_us(
    launch: Launcher, is_readable: bool
) -> None:
    source = """
        import os, sys
        import warnings, traceback, linecache, tokenize  # while they can be read
        os.setgroups([]); user = int(sys.argv[1])
        os.setresgid(user, user, user); os.setresuid(user, user, user)
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                print(os.getuid(), flush=True)
                os._exit(0)
            print(os.waitpid(pid, 0)[1], flush=True)
        sys.exit(3)
        """
    user = str(SOMEBODY + 3)
    expected = launch(source, user, env={"RTCONSOLE": None})
    assert (expected.wait(), expected.stderr) == (3, "")
    env = {"TMPDIR": "/proc/none"}
    if not is_readable:  # what is imported when a program first forks cannot be, then
        private = launch.home / "private"
        private.mkdir(0o700)
        shutil.copytree(Path(rtconsole.__file__).parent, private / "rtconsole")
        env["PYTHONPATH"] = str(private)
    program = launch(source, user, env=env)
    assert (program.wait(), program.stdout, program.stderr) == (3, expected.stdout, "")


JAILED = """
import warnings
warnings.simplefilter("ignore")  # of a fork beside the kernel
os.mkdir("jail")
os.chroot("jail"); os.chdir("/")
print("jailed", flush=True)
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        print(os.listdir("/"), flush=True)
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
while not (found := os.listdir("/")): time.sleep(0.01)
print(found)
sys.exit(3)
"""


@needs_root
@pytest.mark.parametrize("state", ["without", "dormant", "attached", "visited"])
def test_a_program_that_changes_its_root_goes_on_and_forks_as_without_us(
    launch: Launcher, state: str
) -> None:
    env = {"RTCONSOLE": None if state == "without" else "1", "TMPDIR": "/var/tmp"}
    program = launch(alike.PRELUDE + JAILED, env=env, cwd=launch.home)
    if state != "without":
        assert program.connection_file
    with alike.in_state(launch, program, "attached" if state == "attached" else "without"):
        program.wait_for_output("0\n[]\n0\n")
        if state == "visited":  # where nothing of a kernel can be imported: it gives up
            with closing(socket.socket(socket.AF_UNIX)) as sock:
                sock.settimeout(PATIENCE)
                with suppress(ConnectionError):  # Python 3.13 could not even fork with it
                    sock.connect(f"{launch.sockets}/rtconsole/{program.pid}-1")
                    assert sock.recv(1) == b""
        (launch.home / "jail/end").touch()
        ended = program.wait(), program.stdout, program.stderr
    assert ended == (3, "jailed\n[]\n0\n[]\n0\n['end']\n", "")


ALONE = 'while len(os.listdir("/proc/self/task")) > 1: time.sleep(0.01)'


def test_a_daemon_whose_console_cannot_be_made_anew_goes_on_without_one(launch: Launcher) -> None:
    source = f"""
        import os, shutil, time
        shutil.rmtree(os.environ["XDG_RUNTIME_DIR"] + "/rtconsole")
        os.closerange(3, 256)
        {ALONE}
        """
    program = launch(source, env={"RTCONSOLE_DEBUG": None})
    assert (program.wait(), program.stdout, program.stderr) == (0, "", "")
    assert not program.connection_file_of(program.pid).exists()


@needs_root
def test_a_program_that_changes_its_root_is_rung_in_vain(launch: Launcher) -> None:
    assert launch("pass").wait() == 0  # folders are made, and this start needs nothing unusual
    source = f"""
        import os, sys, time
        proc = os.open("/proc/self/task", os.O_RDONLY)
        os.mkdir("jail"); os.chroot("jail"); os.chdir("/")
        print("rtconsole.lifecycle" in sys.modules, flush=True)
        {ALONE.replace('"/proc/self/task"', "proc")}
        """
    program = launch(source, cwd=launch.home, env={"RTCONSOLE_DEBUG": None})
    program.wait_for_output("False\n")
    with closing(socket.socket(socket.AF_UNIX)) as sock, suppress(ConnectionError):
        sock.settimeout(PATIENCE)
        sock.connect(f"{launch.sockets}/rtconsole/{program.pid}-1")
        assert sock.recv(1) == b""
    assert (program.wait(), program.stdout, program.stderr) == (0, "False\n", "")


@needs_root
@needs_mounts
def test_a_program_that_starts_in_another_root_has_a_console_there(launch: Launcher) -> None:
    jail = launch.home / "jail"
    line = f"mount -t tmpfs none {jail}"
    folders = {"/usr", "/lib", "/lib64", "/bin", "/etc", str(Path(sys.prefix).parents[0])}
    for folder in (*sorted(folders), os.path.realpath(sys.base_prefix), str(launch.home)):
        if Path(folder).is_dir():
            inside = f"{jail}{folder}"
            line += f" && mkdir -p {inside} && mount --rbind {folder} {inside}"
    line += f' && mkdir -p {jail}/tmp {jail}/dev && exec chroot {jail} "$@"'
    jail.mkdir()
    python = ["unshare", "--mount", "sh", "-c", line, "sh", sys.executable]
    source = "import os, time\nt = 42\nprint(os.path.exists('/proc'), flush=True)\ntime.sleep(60)"
    program = launch(source, python=python)
    wait_for(lambda: program.stdout or not program.is_running(), "the jail")
    if not program.is_running():
        pytest.skip(f"no root can be made here: {program.stderr}")
    assert program.stdout == "False\n"
    with program.client() as client:
        assert client.value("t") == 42
        told = "import subprocess; subprocess.run(['echo', 'yes'], capture_output=True).stdout"
        assert client.run(told).result == r"b'yes\n'"
    assert program.stderr == ""


LENGTHS = [80, 90, 100, 103, 104, 107, 108, 200] if alike.IS_THOROUGH else [90, 107, 108]


@pytest.mark.parametrize("length", LENGTHS)
def test_sockets_are_found_however_long_the_folder_for_them_is(
    launch: Launcher, length: int
) -> None:
    base = f"{launch.home}/run/"
    folder = base + "x" * (length - len(base) - len("/rtconsole"))
    Path(folder).mkdir(mode=0o700)
    env = {"XDG_RUNTIME_DIR": folder, "TMPDIR": str(launch.home)}
    program = launch("import time; t = 42; time.sleep(60)", env=env)
    assert len(program.info["ip"]) <= 100
    with program.client() as client:
        assert client.value("t") == 42


@pytest.mark.parametrize(
    "env",
    [{"HOME": None}, {"HOME": ""}, {"HOME": "{home}/none"}, {"HOME": None, "USER": None}],
    ids=["unset", "empty", "missing", "unset, and no user"],
)
def test_without_a_home_in_the_environment_a_program_ends_as_without_us(
    launch: Launcher, env: dict[str, str | None]
) -> None:
    changes = {name: value and value.format(home=launch.home) for name, value in env.items()}
    # no home of ours either: where a user is known its home is in the system's list
    changes |= {"JUPYTER_RUNTIME_DIR": str(launch.home / "runtime")}
    program = launch("print('words'); raise SystemExit(3)", env=changes)
    assert (program.wait(), program.stdout, program.stderr) == (3, "words\n", "")
    assert alike.files(launch) == []


def test_a_home_that_is_missing_is_not_made(launch: Launcher) -> None:
    missing = launch.home / "none" / "me"
    program = launch("import time; time.sleep(60)", env={"HOME": str(missing)})
    wait_for(lambda: "console at" in program.log, "the console")  # among the temporary files
    assert not missing.parent.exists()


@pytest.mark.parametrize("size", [32 << 10, 64 << 10])
def test_a_program_that_gives_its_threads_small_stacks_is_looked_into(
    launch: Launcher, size: int
) -> None:
    program = launch(
        f"""
        import os, threading, time
        from contextlib import suppress
        for size in range({size}, 1 << 20, 4096):  # Python 3.14 takes no less than 52 KB
            with suppress(ValueError):
                threading.stack_size(size)
                break
        if (child := os.fork()) == 0:
            while True: time.sleep(0.01)
        print(child, flush=True)
        while not os.path.exists("end"): time.sleep(0.01)
        print(threading.stack_size() == size)
        os.kill(child, 9)
        os.waitpid(child, 0)
        """,
        cwd=launch.home,
    )
    program.wait_for_output("\n")
    nested = f"eval({'(' * 80 + '1' + ')' * 80!r})"
    for pid in (program.pid, int(program.stdout)):
        file = program.connection_file_of(pid)
        wait_for(file.exists, "its console")
        client = Client(file).ready()
        try:
            assert client.run(nested).result == "1"
            assert client.run("1 / 0").error == "ZeroDivisionError"
            client.control("create_subshell_request")
        finally:
            client.close()
    (launch.home / "end").touch()
    assert program.wait() == 0, program.describe()
    assert program.stdout.endswith("\nTrue\n")
