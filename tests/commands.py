"""The commands as a user runs them: whole processes, in the environment of a test's programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Launcher, Program, wait_for

# A user that exists nowhere else.
SOMEBODY = 61235

# Another user's process, which can read the interpreter wherever that is.
AS_SOMEBODY = [
    *("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
]

needs_users = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="only root can be somebody else",
)


def may_unshare(*options: str) -> bool:
    """Tell whether this user, here, may have namespaces of its own."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", *options, "true"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def argv(*words: str | Path) -> list[str]:
    """Return the command line of ``rtconsole`` with these arguments."""
    return [sys.executable, "-m", "rtconsole", *map(str, words)]


def run(
    launch: Launcher,
    *words: str | Path,
    env: dict[str, str | None] | None = None,
    before: list[str] | None = None,
    **options: Any,
) -> "subprocess.CompletedProcess[str]":
    """Run ``rtconsole`` to its end, in the programs' home, with pipes for its output.

    Args:
        before: a command that runs it, as somebody else say.
    """
    return subprocess.run(
        [*(before or []), *argv(*words)],
        env=launch.environment(RTCONSOLE=None, **(env or {})),
        cwd=launch.home,
        stdin=None if "input" in options else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        **options,
    )


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one line that a failed command says."""
    assert done.stdout == "", done
    assert done.stderr.startswith("rtconsole: "), done
    assert done.stderr.count("\n") == 1, done
    return done.stderr.removeprefix("rtconsole: ").rstrip("\n")


def status(program: Program) -> str:
    """Return what the connection file says of state and clients: ``busy 1``."""
    return " ".join(program.info["rtconsole"]["status"].split())


def wait_for_status(program: Program, wanted: str) -> None:
    wait_for(lambda: status(program) == wanted, f"status {wanted}")
