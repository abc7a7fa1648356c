"""Consoles on another machine, over the user's own OpenSSH.

Nothing is opened on the network: the other machine's Unix sockets are forwarded to sockets
in a folder that only this user can enter.
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import folders
from .connection import CHANNELS
from .errors import CannotAttach, NoAnswer, SshFailed

# Seconds for the forwarding to stand, once ssh has logged in.
_PATIENCE = 30.0


def is_host(target: str) -> bool:
    """Tell whether ``target`` names another machine: ``user@host``, or ``host:``."""
    return "/" not in target and " " not in target and ("@" in target or target.endswith(":"))


def is_remote(target: str) -> bool:
    """Tell whether ``target`` names a process on another machine: ``[user@]host:PID``."""
    host, colon, rest = target.rpartition(":")
    return bool(colon and host and rest) and "/" not in host and " " not in host


def list_there(host: str) -> list[dict[str, Any]]:
    """Return what ``rtconsole list --json`` says on another machine.

    Raises:
        SshFailed: ssh failed, or what it ran is no rtconsole.
    """
    answer = _ask(host.removesuffix(":"), "list", "--json")
    if not isinstance(answer, list):
        raise SshFailed(f"rtconsole on {host} gave no list; is it of the same version?")
    return answer


@contextmanager
def forward(target: str) -> Iterator[dict[str, Any]]:
    """Forward the sockets of ``[user@]host:PID|NAME`` to here, while the with block lasts.

    Yields:
        What a connection file for the forwarded sockets would say: ``transport``, ``ip``,
        the five ports, ``key``, ``signature_scheme``, ``kernel_name``, and the section
        ``rtconsole`` (``pid``, ``argv``, ``python``... of the process over there, and
        the ``host``, which no file says).

    Raises:
        CannotAttach: the other machine's ``rtconsole`` found no such process.
        SshFailed: ssh failed.
        NoAnswer: it logged in, and the sockets were not forwarded.
    """
    host, _, process = target.rpartition(":")
    folder = tempfile.mkdtemp(prefix="ssh-", dir=folders.socket_dir())
    here = os.path.join(folder, "s")
    # One login for all, in the foreground, so that ssh can ask for a password.
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/c", "-o", "ControlPersist=9"]
    try:
        info = _ask(host, "list", "--connection", process, options=shared)
        if not isinstance(info, dict):
            raise SshFailed(f"rtconsole on {host} gave no connection; is it of the same version?")
        local = {**info, "transport": "ipc", "ip": here}
        local["rtconsole"] = {**info["rtconsole"], "host": host}
        options = ["-T", "-o", "ExitOnForwardFailure=yes"]
        for number, channel in enumerate(CHANNELS, start=1):
            separator = "-" if info["transport"] == "ipc" else ":"
            far = f"{info['ip']}{separator}{info[f'{channel}_port']}"
            options += ["-L", f"{here}-{number}:{far}"]
            local[f"{channel}_port"] = number
        # What runs there ends with its input, which ends with us, however we end.
        with _started([*shared, *options, "--", host, "exec cat >/dev/null"]) as tunnel:
            _wait_for(tunnel, [f"{here}-{number}" for number in range(1, 6)], host)
            yield local
    finally:
        if os.path.exists(f"{folder}/c"):
            end = ["ssh", "-O", "exit", *shared, "--", host]
            subprocess.run(end, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Have ssh run while the with block lasts."""
    # A session of its own: Ctrl-C is for the cell over there, not for ssh.
    tunnel = subprocess.Popen(
        ["ssh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield tunnel
    finally:
        assert tunnel.stdin is not None
        tunnel.stdin.close()
        tunnel.terminate()
        tunnel.wait()


def _wait_for(tunnel: "subprocess.Popen[bytes]", sockets: list[str], host: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not all(map(os.path.exists, sockets)):
        if tunnel.poll() is not None:
            raise SshFailed(f"ssh to {host} forwards no sockets (exit status {tunnel.returncode})")
        if time.monotonic() > deadline:
            raise NoAnswer(f"{host} did not forward the sockets within {_PATIENCE:.0f} s")
        time.sleep(0.01)


def _ask(host: str, *arguments: str, options: Sequence[str] = ()) -> Any:
    """Run ``rtconsole`` with the arguments on another machine; return the JSON it prints."""
    # in a plain ssh command PATH may be shorter than in a login shell
    line = f"{os.environ.get('RTCONSOLE_REMOTE', 'rtconsole')} {shlex.join(arguments)}"
    try:
        done = subprocess.run(
            ["ssh", "-T", *options, "--", host, line], stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError as error:
        raise SshFailed(f"ssh cannot be started: {error}") from None
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if done.returncode == CannotAttach.exit_code:
        raise CannotAttach(f"{host}: {said.removeprefix('rtconsole: ')}")
    if done.returncode == 127:
        raise SshFailed(f"there is no rtconsole on {host}; say where it is: RTCONSOLE_REMOTE=PATH")
    if done.returncode:
        raise SshFailed(f"{host}: {said or f'ssh failed with exit status {done.returncode}'}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise SshFailed(f"what rtconsole printed on {host} is no JSON") from None
