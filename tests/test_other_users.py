"""Another user of the machine: what they cannot reach, read, plant or make us do.

They are real ones: processes of other uids, which nobody else has. What they run drops its
privileges itself, since the interpreter may be where only root can read.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from attaching import Attach, attach  # noqa: F401
from commands import AS_SOMEBODY, SOMEBODY, needs_users, run
from harness import Client, Launcher, Program, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import CHANNELS, greeting

from rtconsole import client, connection
from rtconsole.console.history import history_of
from rtconsole.errors import CannotAttach

pytestmark = [
    needs_users,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

SLEEP = "import time\nwhile True: time.sleep(0.1)"

# Whoever should not get anywhere; SOMEBODY is the one who has a console sometimes.
STRANGER = SOMEBODY + 1

DROP = """
import ctypes, errno, json, os, socket, sys, time
import zmq
os.setgroups([])
os.setresgid({uid}, {uid}, {uid})
os.setresuid({uid}, {uid}, {uid})
def fails(function, *arguments):
    try: function(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
def take_places(ip):
    import select
    sockets = []
    for number in range(1, 6):
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(f"{{ip}}-{{number}}")
        os.chmod(f"{{ip}}-{{number}}", 0o777)
        sockets[-1].listen()
    print("on", flush=True)
    select.select(sockets, [], [])
    print("somebody came", flush=True)
"""


@contextmanager
def stranger(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run code as another user while the with block lasts."""
    source = DROP.format(uid=STRANGER) + textwrap.dedent(code)
    words = [sys.executable, "-I", "-c", source, *arguments]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def as_stranger(code: str, *arguments: str) -> Any:
    """Run code as another user to its end, and return what it printed as JSON."""
    with stranger(code, *arguments) as process:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        return json.loads(out)


@contextmanager
def sleeper(uid: int) -> Iterator[int]:
    """A process of that user's while the with block lasts: its pid."""
    process = subprocess.Popen(["sleep", "600"], user=uid, group=uid, extra_groups=[])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def open_to_all(launch: Launcher) -> None:
    """Let others into the test's home, as into most homes."""
    launch.home.chmod(0o755)


def planted(launch: Launcher, program: Program, pid: int, **changes: Any) -> dict[str, Any]:
    """Return what a file of a program says, changed to be a process's of somebody else."""
    from psutil import Process

    info = program.info
    about = {**info["rtconsole"], "pid": pid, "create_time": Process(pid).create_time()}
    about.update(changes.pop("about", {}))
    return {**info, "key": "00" * 32, "rtconsole": about, **changes}


def give(path: Path, uid: int = STRANGER) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


# -- reading and connecting --------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022])
def test_another_user_reaches_no_socket_and_reads_no_file(launch: Launcher, umask: int) -> None:
    open_to_all(launch)
    launch.sockets.chmod(0o755)
    env = {"RTCONSOLE_AUDIT": str(launch.home / "audit.jsonl"), "RTCONSOLE_HISTORY": "64k"}
    program = launch(SLEEP, env=env, umask=umask)
    with program.client() as known:
        known.run("1")
        path, info = program.connection_file, program.info
        wait_for((path.parent / "external_kernels" / path.name).exists, "the second name")
        told = as_stranger(
            """
            pid, ip, *files = sys.argv[1:]
            def connect(number):
                with socket.socket(socket.AF_UNIX) as sock: sock.connect(f"{ip}-{number}")
            print(json.dumps({
                "files": [fails(open, name) for name in files],
                "folders": [fails(os.listdir, os.path.dirname(name)) for name in (ip, *files[:2])],
                "sockets": [fails(connect, number) for number in range(1, 6)],
                "links": [fails(os.link, name, f"/tmp/link-{pid}") for name in files],
                "process": [fails(open, f"/proc/{pid}/{name}") for name in ("environ", "mem")],
                "descriptors": fails(os.listdir, f"/proc/{pid}/fd"),
            }))
            """,
            str(program.pid),
            info["ip"],
            str(path),
            str(path.parent / "external_kernels" / path.name),
            str(program.debug_log),
            env["RTCONSOLE_AUDIT"],
        )
    assert {word for words in told.values() for word in words if len(word) > 1} <= {
        "EACCES",
        "EPERM",
    }
    assert told["descriptors"] == "EACCES"
    assert not abstract_sockets(program)
    # what everybody can read
    for name in ("cmdline", "status", "net/unix"):
        assert info["key"].encode() not in Path(f"/proc/{program.pid}/{name}").read_bytes()


def abstract_sockets(program: Program) -> list[str]:
    """Return the names of its sockets that are no files, and so anybody's: unix(7)."""
    inodes = set()
    for path in Path(f"/proc/{program.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return [line[-1] for line in lines if line[6] in inodes and line[-1].startswith("@")]


@pytest.mark.skipif(not zmq.has("curve"), reason="libzmq without CURVE")
def test_over_tcp_another_user_hears_nothing_and_gets_no_answer(launch: Launcher) -> None:
    source = "import time\nran = False\nwhile True: print('secret', flush=True); time.sleep(0.01)"
    program = launch(source, env={"RTCONSOLE_TRANSPORT": "tcp"})
    with program.client() as known:
        known.iopub("stream")
        ports = json.dumps([program.info[f"{name}_port"] for name in CHANNELS])
        heard = as_stranger(
            """
            ports = json.loads(sys.argv[1])
            context, heard = zmq.Context(), []
            kinds = zmq.DEALER, zmq.SUB, zmq.DEALER, zmq.DEALER, zmq.REQ
            for curve in (False, True):
                for kind, port in zip(kinds, ports):
                    sock = context.socket(kind)
                    sock.linger = 0
                    if curve:  # with keys of their own: it is the server's that they do not know
                        sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
                        sock.curve_serverkey = zmq.curve_keypair()[0]
                    if kind == zmq.SUB: sock.subscribe(b"")
                    failed = sock.get_monitor_socket(
                        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_SUCCEEDED
                        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED
                    )
                    sock.connect(f"tcp://127.0.0.1:{port}")
                    if kind != zmq.SUB: sock.send(b"x", zmq.NOBLOCK)
                    if not failed.poll(30_000): heard.append("no failure")
                    if sock.poll(100): heard.append(sock.recv().decode("latin-1"))
                    sock.disable_monitor()
            print(json.dumps(heard))
            """,
            ports,
        )
        assert heard == []
        assert known.value("ran") is False


def test_without_curve_there_is_no_tcp(launch: Launcher) -> None:
    # as where rtconsole is used by PYTHONPATH beside an older jupyter_client
    hidden = launch.home / "site"
    (hidden / "jupyter_client-8.0.0.dist-info").mkdir(parents=True)
    program = launch(
        SLEEP, env={"RTCONSOLE_TRANSPORT": "tcp", "PYTHONPATH": str(hidden)}, cwd=launch.home
    )
    assert program.info["transport"] == "ipc"
    assert "knows nothing of CurveZMQ" in program.log


# -- planting ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "link", "second name"])
def test_a_debug_log_that_another_user_planted_is_not_written(launch: Launcher, how: str) -> None:
    open_to_all(launch)
    shared = launch.home / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    precious = launch.home / "precious"
    precious.write_text("mine")
    log = shared / "debug.log"
    if how == "file":
        log.touch()
        give(log)
        log.chmod(0o666)
    elif how == "link":
        log.symlink_to(precious)
        give(log)
    else:
        os.link(precious, log)  # where fs.protected_hardlinks is off
    program = launch("print('fine')", env={"RTCONSOLE_DEBUG": str(log)})
    assert (program.wait(), program.stdout, program.stderr) == (0, "fine\n", "")
    assert precious.read_text() == "mine"
    assert log.read_text() in ("", "mine")


def test_root_with_a_users_home_makes_nothing_there(launch: Launcher) -> None:
    open_to_all(launch)
    home, tmp = launch.home / "theirs", launch.home / "tmp"
    home.mkdir()
    tmp.mkdir()
    give(home)
    env = {"HOME": str(home), "TMPDIR": str(tmp)}
    program = launch(SLEEP, env=env, cwd=launch.home)
    path = tmp / "rtconsole-0" / f"kernel-rt-{program.pid}.json"
    wait_for(path.exists, "the file")
    assert list(home.iterdir()) == []
    rows = json.loads(run(launch, "list", "--json", "--cwd", ".").stdout)
    assert [row["connection_file"] for row in rows] == [str(path)]


def test_root_finds_the_console_of_a_program_that_became_another_user(launch: Launcher) -> None:
    """Apache's, say: what the system tells of such a process belongs to root."""
    open_to_all(launch)
    tmp = launch.home / "tmp"
    tmp.mkdir()
    tmp.chmod(0o1777)
    become = f"""
import os
from rtconsole import settings, start_console, stop_console, unusual
start_console()  # imports what somebody else may not read
stop_console()
os.setgid({SOMEBODY})
os.setuid({SOMEBODY})
start_console()
{SLEEP}
"""
    env = {"TMPDIR": str(tmp), "RTCONSOLE": "0", "XDG_RUNTIME_DIR": None}
    program = launch(become, env=env, cwd=launch.home)
    path = tmp / f"rtconsole-{SOMEBODY}" / f"kernel-rt-{program.pid}.json"
    wait_for(path.exists, "the file")
    rows = json.loads(run(launch, "list", "--json", "--cwd", ".").stdout)
    assert [row["connection_file"] for row in rows] == [str(path)]


def test_who_swaps_folders_all_the_time_makes_us_touch_nothing(launch: Launcher) -> None:
    open_to_all(launch)
    tmp, precious = launch.home / "tmp", launch.home / "precious"
    tmp.mkdir()
    tmp.chmod(0o777)  # not sticky: the worst
    precious.mkdir(mode=0o700)
    (precious / "file").write_text("mine")
    code = """
        folder, target = sys.argv[1:]
        print("on", flush=True)
        number = 0
        while True:
            number += 1
            for make in (lambda: os.symlink(target, folder), lambda: os.mkdir(folder, 0o777)):
                try:
                    if os.path.lexists(folder): os.rename(folder, f"{folder}.{number}")
                    make()
                except OSError: pass
                time.sleep(0.0005)
        """
    env = {"TMPDIR": str(tmp), "XDG_RUNTIME_DIR": None}
    with stranger(code, str(tmp / "rtconsole-0"), str(precious)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        programs = [launch("print('fine')", env=env) for _ in range(12)]
        for program in programs:
            assert (program.wait(), program.stdout, program.stderr) == (0, "fine\n", "")
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert (precious / "file").read_text() == "mine"


def test_nobody_connects_to_sockets_that_another_user_put_in_place_of_ours(
    launch: Launcher,
) -> None:
    open_to_all(launch)
    tmp = launch.home / "tmp"
    tmp.mkdir()
    tmp.chmod(0o777)  # not sticky
    program = launch(SLEEP, env={"TMPDIR": str(tmp), "XDG_RUNTIME_DIR": None}, cwd=launch.home)
    info = program.info
    assert Path(info["ip"]).parent == tmp / "rtconsole-0"
    listed = json.loads(run(launch, "list", "--json", "--cwd", ".").stdout)
    assert [row["pid"] for row in listed] == [program.pid]
    code = """
        folder, ip = sys.argv[1:]
        os.rename(folder, folder + ".away")
        os.mkdir(folder, 0o777)
        take_places(ip)
        """
    with stranger(code, str(tmp / "rtconsole-0"), info["ip"]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        assert run(launch, "list", "--json", "--cwd", ".").stdout == "[]\n"
        for target in (str(program.pid), str(program.connection_file)):
            done = run(launch, "exec", target, "password = 1")
            assert done.returncode == 3, done
        assert not select.select([other.stdout], [], [], 0)[0], "somebody came"


def test_a_folder_that_is_opened_later_lets_nobody_in_nor_anybody_take_our_place(
    launch: Launcher,
) -> None:
    open_to_all(launch)
    launch.sockets.chmod(0o755)
    program = launch(SLEEP, cwd=launch.home, umask=0)
    info, folder = program.info, launch.sockets / "rtconsole"
    code = """
        ip = sys.argv[1]
        def connect(number):
            with socket.socket(socket.AF_UNIX) as sock: sock.connect(f"{ip}-{number}")
        print(json.dumps([fails(connect, number) for number in range(1, 6)]))
        """
    for mode in (0o755, 0o777):
        folder.chmod(mode)
        assert as_stranger(code, info["ip"]) == ["EACCES"] * 5
    code = """
        ip = sys.argv[1]
        for number in range(1, 6): os.unlink(f"{ip}-{number}")
        take_places(ip)
        """
    with stranger(code, info["ip"]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        for target in (str(program.pid), str(program.connection_file)):
            done = run(launch, "exec", target, "password = 1")
            assert done.returncode == 3, done
        assert not select.select([other.stdout], [], [], 0)[0], "somebody came"
        # and at its end the program removes what has its names: by then these are theirs
        program.signal(signal.SIGTERM)
        program.wait()


def test_what_others_planted_in_a_folder_opened_to_all_makes_nobody_remove_anything(
    launch: Launcher,
) -> None:
    open_to_all(launch)
    launch.sockets.chmod(0o755)
    env = {"JUPYTER_RUNTIME_DIR": str(launch.home / "runtime")}
    killed = launch(SLEEP, cwd=launch.home, env=env)
    path = launch.home / "runtime" / f"kernel-rt-{killed.pid}.json"
    wait_for(path.exists, "the file")
    info = json.loads(path.read_text())
    wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    ending = launch(wait, cwd=launch.home, env=env, name="ending.py")
    wait_for((path.parent / f"kernel-rt-{ending.pid}.json").exists, "the other one's")
    killed.stop()
    folders = path.parent, path.parent / "external_kernels", launch.sockets / "rtconsole"
    for folder in folders:
        folder.chmod(0o777)
    precious = launch.home / "precious"
    precious.write_text("mine")
    code = """
        told, precious, runtime, external, sockets = sys.argv[1:]
        info = json.loads(told)
        # of a process that is no more, and of which nobody else tells what is theirs
        info["rtconsole"].update(pid=999999999, create_time=1.0)
        for name in ("kernel-rt-999999999.json", ".kernel-rt-7.json.1.tmp"):
            with open(f"{runtime}/{name}", "w") as file: json.dump(info, file)
            os.utime(file.name, (0, 0))
        for name in ("kernel-rt-999999998.json", ".kernel-rt-8.json.1.tmp"):
            os.symlink(precious, f"{runtime}/{name}")
        os.symlink(precious, f"{external}/kernel-rt-999999999.json")
        with socket.socket(socket.AF_UNIX) as sock: sock.bind(f"{sockets}/999999999-1")
        os.symlink(precious, f"{sockets}/999999998-1")
        print(json.dumps([sorted(os.listdir(folder)) for folder in (runtime, external, sockets)]))
        """
    planted = as_stranger(code, json.dumps(info), str(precious), *map(str, folders))
    (launch.home / "go").touch()
    assert ending.wait() == 0  # it sweeps at its end
    left = [sorted(os.listdir(folder)) for folder in folders]
    run(launch, "list", env=env)
    run(launch, "list", env=env, before=AS_SOMEBODY)
    assert [sorted(os.listdir(folder)) for folder in folders] == left
    assert precious.read_text() == "mine"
    pids = str(killed.pid), str(ending.pid)
    assert left == [
        [name for name in names if not any(p in name for p in pids)] for names in planted
    ]
    assert all(any(pids[0] in name for name in names) for names in planted)


def test_who_has_the_ports_of_a_dead_process_is_told_neither_key_nor_code(launch: Launcher) -> None:
    program = launch(SLEEP, env={"RTCONSOLE_TRANSPORT": "tcp"})
    path, info = program.connection_file, program.info
    kept = launch.home / path.name
    kept.write_text(path.read_text())
    ports = [info[f"{name}_port"] for name in CHANNELS]
    code = """
        words, ports = sys.argv[1], json.loads(sys.argv[2])
        def take(port, host, option=None):
            sock = socket.socket()
            if option is not None: sock.setsockopt(socket.SOL_SOCKET, option, 1)
            sock.bind((host, port))
            sock.listen()
            return sock
        options = None, socket.SO_REUSEADDR, socket.SO_REUSEPORT
        hosts = "127.0.0.1", "0.0.0.0", ""
        print(json.dumps(
            [fails(take, port, host, o) for port in ports for host in hosts for o in options]
        ), flush=True)
        sys.stdin.readline()
        context = zmq.Context()
        plain = [take(port, "127.0.0.1", socket.SO_REUSEADDR) for port in ports]
        print("on", flush=True)
        heard = b""
        for greets in (b"", GREETING):
            for sock in plain:
                sock.settimeout(30)
                connection, _ = sock.accept()
                connection.settimeout(0.3)
                connection.sendall(greets)
                try:
                    while data := connection.recv(1 << 16): heard += data
                except OSError: pass
                connection.close()
        for sock in plain: sock.close()
        ours = []
        for kind, port in zip((zmq.ROUTER, zmq.XPUB, zmq.ROUTER, zmq.ROUTER, zmq.ROUTER), ports):
            ours.append(context.socket(kind))
            ours[-1].curve_publickey, ours[-1].curve_secretkey = zmq.curve_keypair()
            ours[-1].curve_server = True
            ours[-1].bind(f"tcp://127.0.0.1:{port}")
        time.sleep(1)
        received = [sock.recv_multipart() for sock in ours if sock.poll(0)]
        print(json.dumps([len(heard) > 0, heard.hex(), len(received)]), flush=True)
        os._exit(0)
        """.replace("GREETING", repr(greeting()))
    with stranger(code, "", json.dumps(ports)) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert set(json.loads(other.stdout.readline())) == {"EADDRINUSE"}
        program.stop()
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "on\n"
        client = Client(kept)
        try:
            client.send("password = 'geheim'")
            client.kernel.session.send(
                client.kernel.control_channel.socket,
                client.kernel.session.msg("interrupt_request", {}),
            )
            is_heard, heard, received = json.loads(other.stdout.readline())
        finally:
            client.close()
    assert is_heard
    assert received == 0
    told = bytes.fromhex(heard)
    for secret in (info["key"], info["curve_secretkey"], "geheim", "execute_request"):
        assert secret.encode() not in told


def test_a_file_planted_where_ours_would_be_leads_to_nobody(launch: Launcher) -> None:
    open_to_all(launch)
    program = launch(SLEEP, cwd=launch.home)
    home, tmp = launch.home / "home", launch.home / "tmp"
    home.mkdir()
    give(home, SOMEBODY)
    tmp.mkdir()
    tmp.chmod(0o1777)
    folder = tmp / f"rtconsole-{SOMEBODY}"
    folder.mkdir(mode=0o755)
    give(folder)
    env: dict[str, str | None] = {
        "HOME": str(home),
        "TMPDIR": str(tmp),
        "XDG_RUNTIME_DIR": None,
        "RTCONSOLE_DEBUG": None,
    }
    with sleeper(STRANGER) as theirs, sleeper(SOMEBODY) as ours:
        paths = []
        for pid in (theirs, ours):  # their own process, and one of who is to be deceived
            path = folder / f"kernel-rt-{pid}.json"
            path.write_text(json.dumps(planted(launch, program, pid)))
            path.chmod(0o644)
            paths.append(give(path))
        words = {"env": env, "before": AS_SOMEBODY}
        assert run(launch, "list", "--json", **words).stdout == "[]\n"
        for target in map(str, (*paths, theirs, ours)):
            done = run(launch, "exec", target, "1", **words)
            assert done.returncode == 3, done
        # and root: theirs is what it says, ours is not theirs to speak for
        rows = json.loads(run(launch, "list", "--json", env=env).stdout)
        assert ours not in {row["pid"] for row in rows}
        done = run(launch, "exec", str(paths[1]), "1", env=env)
        assert done.returncode == 3, done
        assert all(path.exists() for path in paths)


def test_a_history_that_another_user_planted_is_not_written(launch: Launcher) -> None:
    folder = launch.home / "state/rtconsole/history"
    folder.mkdir(parents=True)
    give(folder)
    history = history_of("program.py", {"XDG_STATE_HOME": str(launch.home / "state")})
    history.store_string("password = 1")
    os.chown(folder, 0, 0)
    folder.chmod(0o700)
    (folder / "program.py").symlink_to(launch.home / "elsewhere")
    history = history_of("program.py", {"XDG_STATE_HOME": str(launch.home / "state")})
    history.store_string("password = 1")
    assert [path.name for path in folder.iterdir()] == ["program.py"]
    assert not (launch.home / "elsewhere").exists()


# -- what is shown and obeyed ------------------------------------------------------------

ESCAPES = "\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202e"


def test_names_that_control_a_terminal_are_shown_as_escapes(launch: Launcher) -> None:
    open_to_all(launch)
    program = launch(SLEEP, cwd=launch.home)
    home = launch.home / "home"
    runtime = home / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening, sleeper(STRANGER) as pid:
        (launch.home / "s").mkdir(mode=0o700)
        listening.bind(str(launch.home / "s/x-1"))
        for path in (launch.home / "s", *(launch.home / "s").iterdir()):
            give(path)
        told = {"argv": ["python", ESCAPES], "python": ESCAPES, "version": ESCAPES}
        info = planted(
            launch, program, pid, about=told, kernel_name=ESCAPES, ip=str(launch.home / "s/x")
        )
        path = runtime / f"kernel-rt-{pid}.json"
        path.write_text(json.dumps(info))
        for one in (home, *home.rglob("*")):
            give(one)
        env: dict[str, str | None] = {"HOME": str(home)}
        rows = json.loads(run(launch, "list", "--json", env=env).stdout)
        assert pid in {row["pid"] for row in rows}
        for words in (
            ["list"],
            ["exec", "--timeout", "0.5", str(path), "1"],
            ["attach", str(path)],
        ):
            done = run(launch, *words, env=env)
            assert not set(done.stdout + done.stderr) & set("\x1b\x9b\r\x07")
    assert client.program_of(info).isprintable()


def test_a_process_named_like_an_escape_sequence(launch: Launcher) -> None:
    code = "ctypes.CDLL(None).prctl(15, b'\\x1b[2J'); print('on', flush=True); time.sleep(60)"
    with stranger(code) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        done = run(launch, "exec", str(other.pid), "1")
        assert r"(\x1b[2J) has no console" in done.stderr


def test_a_kernel_gives_the_editor_a_file_and_no_options(
    launch: Launcher,
    attach: Attach,  # noqa: F811
) -> None:
    editor = launch.script('#!/bin/sh\necho "$@" > edited\n', "editor.sh")
    editor.chmod(0o755)
    program = launch(SLEEP, cwd=launch.home)
    terminal = attach(program, env={"EDITOR": str(editor), "PWD": str(launch.home)})
    payload = '{"source": "edit_magic", "filename": "+:!touch x", "line_number": 0}'
    terminal.type(f"get_ipython().payload_manager.write_payload({payload})\r")
    places = Path("edited"), launch.home / "edited"

    def written() -> list[Path]:
        return [path for path in places if path.exists() and path.read_text().endswith("\n")]

    found = wait_for(written, "the editor")[0]
    words = found.read_text()
    if found == Path("edited"):
        found.unlink()
    assert words.startswith("/")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
GOOD = {
    "transport": "ipc",
    "ip": "/run/rtconsole/1",
    "signature_scheme": "hmac-sha256",
    "key": "ab" * 32,
    "kernel_name": "x (1)",
    **{f"{channel}_port": number for number, channel in enumerate(CHANNELS, 1)},
    "rtconsole": {
        "status": "dormant    0",
        "version": "0",
        "machine": "m",
        "pid": 1,
        "create_time": 1.0,
        "argv": ["python"],
        "cwd": None,
        "python": "3",
        "executable": "p",
    },
}


def assert_read_or_refused(path: Path) -> None:
    try:
        told = connection.read(str(path))
    except CannotAttach:
        return
    told.sockets()
    client.program_of(told.info).encode()
    connection.shown(connection.program(told.argv)).encode()
    told.info["key"].encode()
    assert 0 < told.pid < 1 << 31


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # on a busy machine
)
@given(
    changes=st.dictionaries(st.sampled_from(list(GOOD)), json_values, max_size=2),
    about=st.dictionaries(
        st.sampled_from([*GOOD["rtconsole"], "host"]),  # type: ignore[misc]
        json_values,
        max_size=2,
    ),
)
def test_whatever_a_file_says_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], about: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "kernel-rt-1.json"
    info = {**GOOD, "rtconsole": {**GOOD["rtconsole"], **about}, **changes}  # type: ignore[dict-item]
    path.write_text(json.dumps(info))
    assert_read_or_refused(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
        json.dumps({**GOOD, "key": "\ud800"}),
        json.dumps({**GOOD, "ip": "/\ud800"}),
        json.dumps({**GOOD, "transport": "tcp", "ip": "192.0.2.1"}),
        json.dumps({**GOOD, "ip": "relative"}),
        json.dumps({**GOOD, "shell_port": 1 << 80}),
        json.dumps({**GOOD, "signature_scheme": "hmac-nothing"}),
        json.dumps({**GOOD, "curve_publickey": 3}),
        *(
            json.dumps({**GOOD, "rtconsole": {**GOOD["rtconsole"], name: value}})  # type: ignore[dict-item]
            for name, value in (
                ("pid", 1 << 80),
                ("pid", 0),
                ("create_time", 10**400),
                ("create_time", float("nan")),
                ("cwd", "a\0b"),
                ("cwd", "\ud800"),
                ("host", "elsewhere"),
                ("status", "idle " + "9" * 5000),
            )
        ),
    ],
    ids=lambda text: text[:20],
)
def test_absurd_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kernel-rt-1.json"
    path.write_text(text)
    with pytest.raises(CannotAttach):
        connection.read(str(path))
