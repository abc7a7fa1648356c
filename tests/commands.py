"""The commands as a user runs them: whole processes, in the environment of a test's programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Launcher, Program, wait_for

# A user that exists nowhere else, not even in tests that run at the same time; the nine that follow
# do not either.
SOMEBODY = 61240 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


def becoming(user: int) -> list[str]:
    """Return the start of another user's command line: it can read the interpreter anywhere."""
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
    ]


AS_SOMEBODY = becoming(SOMEBODY)

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


def run_in_jupyter(
    launch: Launcher, existing: str | Path, script: Path
) -> "subprocess.CompletedProcess[str]":
    """Run a script in a kernel that there is, by ``jupyter run``."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-m", "jupyter", "run", "--existing", existing, script],
            env=launch.environment(RTCONSOLE=None),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        if "Kernel died" not in done.stderr:  # which it takes it for where it is starved
            break
    return done


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
