"""The connection file: what it says, where it is, who can read it, and that it goes in the end.

And the sockets that it names, since the two come and go together.
"""

import hashlib
import os
import random
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from harness import Client, Launcher, Program, wait_for
from zmq.utils import z85

from rtconsole import __version__, curve, folders

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
SLEEP = "import time; time.sleep(60)"

# A user that exists nowhere: the owner of what is not ours.
NOBODY = 61234

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets and modes")


def sockets_of(info: dict[str, Any]) -> list[Path]:
    return [Path(f"{info['ip']}-{info[f'{channel}_port']}") for channel in CHANNELS]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def leftovers(program: Program) -> list[Path]:
    """Return the connection files and sockets in the folders of a test."""
    return [p for p in program.home.rglob("*") if "kernel-rt-" in p.name or p.is_socket()]


def end_of(program: Program) -> tuple[int, bytes, bytes]:
    return program.wait(), program.stdout_file.read_bytes(), program.stderr_file.read_bytes()


def usual(launch: Launcher) -> dict[str, str | None]:
    """Return the changes that make all folders the usual ones, which are there already."""
    (launch.home / ".local/share/jupyter/runtime").mkdir(parents=True, mode=0o700)
    (launch.sockets / "rtconsole").mkdir(mode=0o700)
    return {"TMPDIR": None}


def wrapped(preparation: str) -> list[str]:
    """Return the start of a command line: ``preparation``, then exec of the interpreter."""
    code = f"import os, sys\n{preparation}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-E", "-c", code, sys.executable]


def assert_runs_a_cell(connection_file: Path) -> None:
    with closing(Client(connection_file)) as client:
        assert client.ready().value("6 * 7") == 42


# -- what it says ----------------------------------------------------------------------------


@pytest.mark.parametrize("are_usual", [True, False], ids=["usual folders", "other folders"])
def test_it_says_what_a_client_and_a_person_need(launch: Launcher, are_usual: bool) -> None:
    env = usual(launch) if are_usual else {}
    arguments = ["--name", "ä ☃ \U0001f40d", '"quoted" \\', "\udcff", "line\nbreak", ""]
    program = launch(SLEEP, *arguments, cwd=launch.home, env=env, name="work.py")
    info = program.info
    assert info.keys() == {
        *("transport", "ip", "key", "signature_scheme", "kernel_name", "rtconsole"),
        *(f"{channel}_port" for channel in CHANNELS),
    }
    assert info["transport"] == "ipc"
    assert info["signature_scheme"] == "hmac-sha256"
    assert len(bytes.fromhex(info["key"])) == 32
    assert info["kernel_name"] == f"work.py ({program.pid})"
    assert all(path.is_socket() for path in sockets_of(info))
    about = info["rtconsole"]
    created = about.pop("create_time")
    assert abs(created - psutil.Process(program.pid).create_time()) < 0.02
    assert about == {
        "status": "dormant    0",
        "version": __version__,
        "pid_namespace": os.stat("/proc/self/ns/pid").st_ino,
        "machine": socket.gethostname(),
        "pid": program.pid,
        "argv": [sys.executable, str(launch.home / "work.py"), *arguments],
        "cwd": os.path.realpath(launch.home),
        "python": sys.version.partition(" ")[0],
        "executable": sys.executable,
    }


def test_each_process_has_a_key_of_its_own(launch: Launcher) -> None:
    assert launch(SLEEP).info["key"] != launch(SLEEP).info["key"]


def test_a_program_in_a_deleted_folder_has_no_cwd_to_tell(launch: Launcher) -> None:
    (launch.home / "gone").mkdir()
    python = wrapped("os.chdir('gone'); os.rmdir('../gone')")
    program = launch(SLEEP, python=python, cwd=launch.home)
    assert program.info["rtconsole"]["cwd"] is None


@pytest.mark.parametrize("are_usual", [True, False], ids=["usual folders", "other folders"])
@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_nobody_else_can_read_it_or_enter_our_folders_under_any_umask(
    launch: Launcher, umask: int, are_usual: bool
) -> None:
    changes = usual(launch) if are_usual else {}
    changes |= {"PYTHONDONTWRITEBYTECODE": "1", "RTCONSOLE_DEBUG": None}
    program = launch(f"print('up', flush=True); {SLEEP}", umask=umask, env=changes)
    program.wait_for_output("up")
    path = program.connection_file
    assert path.stat().st_nlink == 2, "the second name"
    assert mode_of(path) == 0o600
    made = [path.parent / "external_kernels", sockets_of(program.info)[0].parent]
    if not are_usual:
        made += [path.parents[at] for at in range(4)]
        assert path.parents[3] == launch.home / ".local"
    assert {folder: mode_of(folder) for folder in made} == dict.fromkeys(made, 0o700)
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]


def test_jupyterlab_finds_a_second_name_until_the_end(launch: Launcher) -> None:
    os.mkfifo(launch.home / "go")
    program = launch("with open('go') as go: go.read()", cwd=launch.home)
    path = program.connection_file
    second = path.parent / "external_kernels" / path.name
    wait_for(second.exists, "the second name")
    assert second.samefile(path)
    assert mode_of(second) == 0o600
    (launch.home / "go").write_text("go")
    assert program.wait() == 0
    assert not second.exists()


def test_an_external_kernels_folder_that_is_not_ours_costs_only_the_second_name(
    launch: Launcher,
) -> None:
    runtime = launch.home / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True, mode=0o700)
    (launch.home / "elsewhere").mkdir()
    (runtime / "external_kernels").symlink_to(launch.home / "elsewhere")
    program = launch(SLEEP)
    assert_runs_a_cell(program.connection_file)
    assert not list((launch.home / "elsewhere").iterdir())
    assert "JupyterLab will not list this process" in program.log


# -- where it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"HOME": "{home}/linked"},
        {"HOME": "{home}/"},
        {"JUPYTER_RUNTIME_DIR": "{home}/rt dir"},
        {"JUPYTER_RUNTIME_DIR": "{home}/./a/../b//c/"},
        {"JUPYTER_RUNTIME_DIR": "rt"},
        {"JUPYTER_RUNTIME_DIR": "", "JUPYTER_DATA_DIR": "", "XDG_DATA_HOME": ""},
        {"JUPYTER_DATA_DIR": "{home}/data"},
        {"JUPYTER_DATA_DIR": "data"},
        {"JUPYTER_DATA_DIR": "{home}/data", "JUPYTER_RUNTIME_DIR": "{home}/rt"},
        {"JUPYTER_DATA_DIR": "{home}/data", "XDG_DATA_HOME": "{home}/xdg"},
        {"XDG_DATA_HOME": "{home}/xdg"},
        {"XDG_DATA_HOME": "xdg"},
        {"JUPYTER_PLATFORM_DIRS": "1"},
        {"JUPYTER_PLATFORM_DIRS": ""},
        {"JUPYTER_PLATFORM_DIRS": "0", "XDG_DATA_HOME": "xdg"},
        {"JUPYTER_PLATFORM_DIRS": "No"},
        {"JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_HOME": "{home}/xdg"},
        {"JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_HOME": "xdg"},
        {"JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_HOME": " "},
        {"JUPYTER_PLATFORM_DIRS": "1", "HOME": "{home}/linked"},
        {"JUPYTER_PLATFORM_DIRS": "1", "JUPYTER_DATA_DIR": "{home}/data"},
    ],
    ids=lambda env: " ".join(f"{name}={value!r}" for name, value in env.items()) or "plain",
)
def test_it_is_where_jupyter_looks(launch: Launcher, env: dict[str, str]) -> None:
    (launch.home / "linked").symlink_to(launch.home)
    (launch.home / "a").mkdir()
    changes = {name: value.format(home=launch.home) for name, value in env.items()}
    program = launch(SLEEP, env=changes, cwd=launch.home)
    asked = "from jupyter_core.paths import jupyter_runtime_dir as d; print(d(), end='')"
    found = subprocess.run(
        [sys.executable, "-c", asked],
        env=launch.environment(**changes, RTCONSOLE=None),
        cwd=launch.home,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    path = launch.home / found / f"kernel-rt-{program.pid}.json"
    wait_for(lambda: path.exists() or not program.is_running(), f"{path}")
    assert path.exists()
    log = program.debug_log
    wait_for(lambda: log.exists() and "console at" in log.read_text(), "the debug log's line")
    told = launch.home / log.read_text().partition("console at ")[2].strip()
    assert os.path.realpath(told.parent) == os.path.realpath(launch.home / found)


@pytest.mark.parametrize("variable", ["JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_DATA_HOME"])
def test_a_program_that_changes_folders_leaves_nothing_in_a_relative_one(
    launch: Launcher, variable: str
) -> None:
    program = launch("import os; os.chdir('/')", env={variable: "relative"}, cwd=launch.home)
    assert program.wait() == 0
    assert "console at" in program.log
    assert leftovers(program) == []


def test_a_relative_temporary_folder_is_named_in_full(launch: Launcher) -> None:
    (launch.home / "tmp").mkdir()
    env = {"TMPDIR": "tmp", "XDG_RUNTIME_DIR": None}
    program = launch(f"import os; os.chdir('/'); {SLEEP}", env=env, cwd=launch.home)
    assert os.path.isabs(program.info["ip"])
    assert_runs_a_cell(program.connection_file)


JUPYTER_SAYS = """
import sys
from jupyter_core import paths
sys.platform = sys.argv[1]
print(paths.jupyter_runtime_dir(), end="")
"""


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux", "freebsd14"])
@pytest.mark.parametrize(
    "env",
    [
        {},
        {"JUPYTER_RUNTIME_DIR": "/rt"},
        {"JUPYTER_DATA_DIR": "/data"},
        {"XDG_DATA_HOME": "/xdg"},
        {"APPDATA": "/appdata"},
        {"JUPYTER_CONFIG_DIR": "/config"},
        {"APPDATA": "", "JUPYTER_CONFIG_DIR": ""},
    ],
    ids=lambda env: " ".join(env) or "plain",
)
def test_the_rules_of_each_platform_are_jupyters(
    launch: Launcher, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], platform: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", JUPYTER_SAYS, platform],
        env=launch.environment(**env, RTCONSOLE=None),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    monkeypatch.setenv("HOME", str(launch.home))
    assert folders.runtime_dir(env, platform) == found


@pytest.mark.parametrize(
    ("platform", "env", "expected"),
    [
        ("darwin", {}, "{home}/Library/Jupyter/runtime"),
        ("darwin", {"XDG_DATA_HOME": "/xdg"}, "{home}/Library/Jupyter/runtime"),
        (
            "darwin",
            {"JUPYTER_PLATFORM_DIRS": "1"},
            "{home}/Library/Application Support/Jupyter/runtime",
        ),
        ("win32", {}, "{home}/.jupyter/data/runtime"),
        ("win32", {"APPDATA": "/appdata"}, "/appdata/jupyter/runtime"),
        ("win32", {"JUPYTER_PLATFORM_DIRS": "1"}, "{home}/AppData/Local/Jupyter/runtime"),
        (
            "win32",
            {"JUPYTER_PLATFORM_DIRS": "1", "LOCALAPPDATA": "/local"},
            "/local/Jupyter/runtime",
        ),
    ],
)
def test_the_folders_of_macos_and_windows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    env: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.runtime_dir(env, platform) == expected.format(home=tmp_path)


def test_a_relative_home_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(FileNotFoundError, match="no home"):
        folders.runtime_dir({}, "linux")


# -- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("are_usual", [True, False], ids=["usual folders", "other folders"])
@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("pass", 0),
        ("raise ValueError('oops')", 1),
        ("sys.exit(3)", 3),
        ("sys.exit('farewell')", 1),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); die(signal.SIGTERM)", 5),
        ("signal.signal(signal.SIGINT, signal.default_int_handler); die(signal.SIGINT)", -2),
        ("t = threading.Thread(target=sys.exit, args=(7,)); t.start(); t.join()", 0),
        ("threading.Thread(target=lambda: print('last')).start(); raise SystemExit(4)", 4),
    ],
    ids=lambda value: value.partition(";")[0] if isinstance(value, str) else "",
)
def test_it_goes_with_its_program_which_ends_as_without_us(
    launch: Launcher, ending: str, exit_code: int, are_usual: bool
) -> None:
    source = f"""
        import os, signal, sys, threading, time
        def die(number):
            os.kill(os.getpid(), number)
            time.sleep(60)
        with open("go") as go:
            go.read()
        {ending}
        """
    env = usual(launch) if are_usual else {}
    go = launch.home / "go"
    os.mkfifo(go)
    without = launch(source, env={**env, "RTCONSOLE": None}, cwd=launch.home)
    go.write_text("go")
    expected = end_of(without)
    assert expected[0] == exit_code, without.describe()

    program = launch(source, env=env, cwd=launch.home)
    path, sockets = program.connection_file, sockets_of(program.info)
    assert all(map(Path.is_socket, sockets))
    go.write_text("go")
    assert end_of(program) == expected, program.describe()
    assert not path.exists()
    assert not any(map(Path.exists, sockets))
    assert leftovers(program) == []


def test_it_goes_when_a_client_is_attached(launch: Launcher) -> None:
    os.mkfifo(launch.home / "go")
    program = launch("with open('go') as go: go.read()\nraise SystemExit(3)", cwd=launch.home)
    with program.client() as client:
        assert client.value("6 * 7") == 42
        (launch.home / "go").write_text("go")
        assert end_of(program) == (3, b"", b"")
    assert leftovers(program) == []


# -- somebody had this pid before -------------------------------------------------------------


def test_a_program_that_execs_another_leaves_it_its_pid_and_no_more(launch: Launcher) -> None:
    os.mkfifo(launch.home / "go")
    second = launch.script(f"second = True; {SLEEP}", "second.py")
    program = launch(
        f"""
        import os, sys
        with open("go") as go:
            go.read()
        os.execv(sys.executable, [sys.executable, {str(second)!r}])
        """,
        cwd=launch.home,
    )
    first = program.info
    assert first["kernel_name"] == f"program.py ({program.pid})"
    with program.client() as client:  # its kernel is running, too
        assert client.value("6 * 7") == 42
    (launch.home / "go").write_text("go")
    wait_for(lambda: program.info["key"] != first["key"], "the second program's file")
    assert program.info["kernel_name"] == f"second.py ({program.pid})"
    assert program.info["rtconsole"]["argv"] == [sys.executable, str(second)]
    with program.client() as client:
        assert client.value("second") is True


def test_what_a_dead_process_of_this_pid_left_is_replaced(launch: Launcher) -> None:
    python = wrapped(
        """
import socket
pid, runtime = os.getpid(), os.path.expanduser("~/.local/share/jupyter/runtime")
os.umask(0o022)
os.makedirs(runtime + "/external_kernels")
name = f"kernel-rt-{pid}.json"
temporary = f".{name}.{os.stat('/proc/self/ns/pid').st_ino}.tmp"
for path in (name, temporary, f"external_kernels/{name}"):
    with open(f"{runtime}/{path}", "w") as file:
        file.write("{}")
folder = os.environ["XDG_RUNTIME_DIR"] + "/rtconsole"
os.mkdir(folder, 0o700)
for port in range(1, 6):
    socket.socket(socket.AF_UNIX).bind(f"{folder}/{pid}-{port}")
"""
    )
    program = launch(SLEEP, python=python)
    path = program.connection_file
    wait_for(lambda: "rtconsole" in path.read_text(), "the file to be replaced")
    second = path.parent / "external_kernels" / path.name

    def is_its() -> bool:
        try:
            return second.samefile(path)
        except FileNotFoundError:  # for a moment there is none
            return False

    wait_for(is_its, "the second name to be replaced")
    assert mode_of(path) == 0o600
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]
    assert_runs_a_cell(path)


# -- folders that cannot be trusted ------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    """Put something at ``path`` that nobody should write through."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if how == "link":
        target = path.parent / "target"
        target.mkdir(mode=0o700)
        path.symlink_to(target)
    elif how == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif how == "file":
        path.write_text("")
    elif how == "open to the group":
        path.mkdir()
        path.chmod(0o770)
    elif how == "somebody else's":
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, -1)
    else:
        raise AssertionError(how)


SPOILT = [
    "link",
    "dangling link",
    "file",
    "open to the group",
    pytest.param("somebody else's", marks=needs_root),
]


def untouched(path: Path) -> bool:
    """Tell whether nothing was written to the spoilt ``path`` or through it."""
    places = (path, path.parent / "target", path.parent / "nowhere")
    return not any(place.is_dir() and any(place.iterdir()) for place in places)


@pytest.mark.parametrize("how", SPOILT)
def test_a_runtime_folder_that_is_not_ours_alone_is_left_for_a_temporary_one(
    launch: Launcher, how: str
) -> None:
    runtime = launch.home / ".local/share/jupyter/runtime"
    spoil(runtime, how)
    (launch.home / "tmp").mkdir()
    program = launch(SLEEP, env={"TMPDIR": str(launch.home / "tmp")})
    fallback = launch.home / "tmp" / f"rtconsole-{os.geteuid()}"
    path = fallback / f"kernel-rt-{program.pid}.json"
    wait_for(path.exists, f"{path}")
    assert mode_of(fallback) == 0o700
    assert mode_of(path) == 0o600
    assert_runs_a_cell(path)
    assert untouched(runtime)
    assert "no connection file in Jupyter's folder" in program.log


@pytest.mark.parametrize("how", ["link", "open to the group"])
def test_a_usual_runtime_folder_that_is_not_ours_alone_is_not_used_either(
    launch: Launcher, how: str
) -> None:
    runtime = launch.home / ".local/share/jupyter/runtime"
    spoil(runtime, how)
    program = launch("pass", env={"XDG_RUNTIME_DIR": None, "TMPDIR": None})
    assert program.wait() == 0
    log = program.log
    assert f"console at /tmp/rtconsole-{os.geteuid()}/kernel-rt-{program.pid}.json" in log
    assert untouched(runtime)


@pytest.mark.parametrize("how", [*SPOILT, "open to all eyes"])
def test_with_a_planted_temporary_folder_there_is_silently_no_console(
    launch: Launcher, how: str
) -> None:
    spoil(launch.home / ".local/share/jupyter/runtime", "file")
    planted = launch.home / "tmp" / f"rtconsole-{os.geteuid()}"
    if how == "open to all eyes":
        planted.mkdir(parents=True)
        planted.chmod(0o755)
    else:
        spoil(planted, how)
    env = {"TMPDIR": str(launch.home / "tmp")}
    for changes in (env, {**env, "XDG_RUNTIME_DIR": None}):  # sockets made or not, before
        program = launch("print('fine'); raise SystemExit(3)", env=changes)
        assert end_of(program) == (3, b"fine\n", b"")
        assert untouched(planted)
        assert leftovers(program) == []
        assert f"pid {program.pid}: no console\nTraceback" in program.log


@pytest.mark.parametrize("how", SPOILT)
def test_sockets_go_to_a_temporary_folder_if_the_sessions_is_not_ours_alone(
    launch: Launcher, how: str
) -> None:
    spoil(launch.sockets / "rtconsole", how)
    (launch.home / "tmp").mkdir()
    program = launch(SLEEP, env={"TMPDIR": str(launch.home / "tmp")})
    assert Path(program.info["ip"]).parent == launch.home / "tmp" / f"rtconsole-{os.geteuid()}"
    assert all(map(Path.is_socket, sockets_of(program.info)))
    assert untouched(launch.sockets / "rtconsole")


def test_sockets_have_short_paths_however_long_the_folders_are(launch: Launcher) -> None:
    home, tmp, run = (launch.home / (letter * 150) for letter in "htr")
    for folder in (home, tmp, run):
        folder.mkdir(mode=0o700)
    env = {"HOME": str(home), "TMPDIR": str(tmp), "XDG_RUNTIME_DIR": str(run)}
    program = launch(SLEEP, env=env)
    sockets = sockets_of(program.info)
    for path in sockets:
        assert path.is_socket()
        assert len(os.fsencode(path)) <= folders.LONGEST_SOCKET_PATH
    assert mode_of(sockets[0].parent) == 0o700
    assert program.connection_file.is_relative_to(home)
    assert_runs_a_cell(program.connection_file)
    for path in sockets:  # the only ones outside of the test's folder
        path.unlink()


# -- loopback TCP ----------------------------------------------------------------------------


TCP: dict[str, str | None] = {"RTCONSOLE_TRANSPORT": "tcp"}
needs_curve = pytest.mark.skipif(not zmq.has("curve"), reason="libzmq without CURVE")


def test_over_tcp_it_listens_on_loopback_alone_and_names_its_keys(launch: Launcher) -> None:
    program = launch(SLEEP, env=TCP)
    info = program.info
    assert (info["transport"], info["ip"]) == ("tcp", "127.0.0.1")
    assert info["signature_scheme"] == "hmac-sha256"
    assert len(bytes.fromhex(info["key"])) == 32
    ports = {info[f"{channel}_port"] for channel in CHANNELS}
    assert len(ports) == 5
    listening = psutil.Process(program.pid).net_connections("inet")
    assert {(c.laddr.ip, c.laddr.port) for c in listening} == {("127.0.0.1", p) for p in ports}
    assert not list(launch.sockets.iterdir())
    if zmq.has("curve"):
        secret = info["curve_secretkey"].encode()
        assert zmq.curve_public(secret).decode() == info["curve_publickey"]


def test_over_tcp_a_client_runs_cells_and_the_file_goes_at_the_end(launch: Launcher) -> None:
    os.mkfifo(launch.home / "go")
    source = "with open('go') as go: go.read()\nraise SystemExit(3)"
    program = launch(source, env=TCP, cwd=launch.home)
    assert_runs_a_cell(program.connection_file)
    (launch.home / "go").write_text("go")
    assert end_of(program) == (3, b"", b"")
    assert leftovers(program) == []


@pytest.mark.parametrize("env", [TCP, {**TCP, "TMPDIR": "/proc/none"}], ids=["", "no TMPDIR"])
def test_over_tcp_whoever_sends_junk_hurts_nobody(
    launch: Launcher, env: dict[str, str | None]
) -> None:
    noise = random.Random(7).randbytes(1 << 16)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    program = launch(SLEEP, env=env)

    def send_junk() -> None:
        for junk in (b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", noise, greeting + noise, greeting[:9]):
            for channel in CHANNELS:
                address = ("127.0.0.1", program.info[f"{channel}_port"])
                with closing(socket.create_connection(address)) as connection:
                    try:
                        connection.sendall(junk)
                    except ConnectionError:
                        pass  # it would hear no more of it

    send_junk()
    with program.client() as client:
        assert client.value("6 * 7") == 42
        send_junk()
        assert client.value("6 * 8") == 48
    assert (program.stdout, program.stderr) == ("", "")


@needs_curve
def test_over_tcp_a_client_without_the_keys_is_turned_away(launch: Launcher) -> None:
    program = launch(SLEEP, env=TCP)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        # which of the two sides is first to see that they do not speak the same decides
        failed = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        with dealer.get_monitor_socket(failed) as monitor:
            dealer.connect(f"tcp://127.0.0.1:{program.info['shell_port']}")
            assert monitor.poll(30_000), "the handshake did not fail"
            dealer.disable_monitor()
    assert_runs_a_cell(program.connection_file)


def test_an_unknown_transport_is_noted_and_the_default_used(launch: Launcher) -> None:
    program = launch(SLEEP, env={"RTCONSOLE_TRANSPORT": "carrier pigeon"})
    assert program.info["transport"] == "ipc"
    assert "RTCONSOLE_TRANSPORT='carrier pigeon'" in program.log


@pytest.mark.parametrize(
    ("installed", "is_supported"),
    [
        ("jupyter_client-8.9.0.dist-info", True),
        ("jupyter_client-8.10.0.dist-info", True),
        ("jupyter_client-9.0.dist-info", True),
        ("jupyter_client-8.8.0.dist-info", False),
        ("jupyter_client-7.4.9.dist-info", False),
        ("jupyter_client-what.dist-info", False),
        ("jupyter_core-5.9.1.dist-info", False),
    ],
)
def test_keys_are_for_clients_that_know_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str, is_supported: bool
) -> None:
    (tmp_path / installed).mkdir()
    monkeypatch.setattr(sys, "path", ["/nonexistent", str(tmp_path)])
    assert curve.supported_here() is is_supported


# -- the arithmetic of keys ------------------------------------------------------------------


def x25519(scalar: str, u: str) -> str:
    """The function of RFC 7748, on hexadecimal: the topmost bit of ``u`` is masked."""
    masked = int.from_bytes(bytes.fromhex(u), "little") & ((1 << 255) - 1)
    return curve.x25519(bytes.fromhex(scalar), masked).hex()


@pytest.mark.parametrize(
    ("scalar", "u", "product"),
    [  # section 5.2
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_x25519_multiplies_as_in_rfc_7748(scalar: str, u: str, product: str) -> None:
    assert x25519(scalar, u) == product


def test_x25519_repeated_is_as_in_rfc_7748() -> None:
    k = u = "09" + 31 * "00"
    for _ in range(1000):
        k, u = x25519(k, u), k
    assert k == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_x25519_agrees_on_a_secret_as_in_rfc_7748() -> None:
    # section 6.1
    alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
    bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    alices = curve.x25519(bytes.fromhex(alice)).hex()
    bobs = curve.x25519(bytes.fromhex(bob)).hex()
    assert alices == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bobs == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert x25519(alice, bobs) == x25519(bob, alices) == secret


def test_z85_is_that_of_zmq() -> None:
    for count in range(0, 64, 4):
        data = hashlib.shake_256(bytes([count])).digest(count)
        assert curve.z85(data) == z85.encode(data).decode()
    for data in (bytes(32), b"\xff" * 32, bytes.fromhex("864fd26fb559f75b")):
        assert curve.z85(data) == z85.encode(data).decode()


@needs_curve
def test_a_pair_of_keys_is_one_for_libzmq() -> None:
    for _ in range(20):
        public, secret = curve.keypair()
        assert zmq.curve_public(secret.encode()).decode() == public
