"""Run the test suite on every supported interpreter that is found here, in a venv each.

All of it on the newest; on the others what depends on the interpreter. And on the newest, parts of
it in one more, in which gevent is installed: where it can be imported the kernel has modules of its
own (rtconsole/native.py). With arguments, only what they say is run, on each.

Interpreters are ``python3.N`` on PATH or under pyenv. Standard library only, and for any
Python 3: this is what runs first on a fresh machine.

    python tests/everywhere.py [pytest arguments]
    python tests/everywhere.py --newest      print the newest interpreter's path
    python tests/everywhere.py --only-newest [pytest arguments]
"""

import os
import subprocess
import sys
import time
from pathlib import Path

SUPPORTED = [(3, 11), (3, 12), (3, 13), (3, 14), (3, 15)]
ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"
PROBE = (
    "import sys, venv, ensurepip; print(sys.executable);"
    "print('%d.%d' % sys.version_info[:2]); print(sys.version.split()[0])"
)

# Run on the newest interpreter only, for the whole takes minutes on each: the commands and their
# terminal, which concern no process that is looked into; and what depends on the system, on clients
# and on how much there is to do, more than on the interpreter.
ONCE = ["attach", *(f"attach_{what}" for what in ("faults", "lines", "ssh", "target"))]
ONCE += ["client", "commands", "commands_streams", "doctor", "list", "several", "ssh"]
ONCE += ["jupyter_console", "lab", "layers", "systems", "torture"]
ONCE += ["audit", "bad_input", "connection_file", "containers", "fairness", "flood", "hostile"]
ONCE += ["install", "leftovers", "limits", "long_life", "other_users", "readonly", "status", "tail"]
ONCE += ["closing", "closing_all", "confined", "hosts", "refusal", "replaced", "turns"]

# Nor on those between the oldest and the newest, which differ from both in forks, warnings,
# interpreters and what watches code more than in these.
ENDS = ["cell_processes", "console", "debugging", "deferred", "embedding", "ending", "mirror"]
ENDS += ["mirror_streams", "namespace", "native", "output_unchanged"]

# What is run beside gevent.
FILES = ["native", "closing", "deferred", "footprint", "cell_processes", "exits", "forks"]
TESTS = (
    "cells_do_all_that_they_do_elsewhere",
    "a_child_that_a_greenlet_program_forks_has_a_console_of_its_own",
    "patching_while_the_kernel_boots_breaks_neither",
)
BESIDE_GEVENT = [f"tests/test_{name}.py" for name in FILES]
BESIDE_GEVENT += [f"tests/servers/test_greenlets.py::test_{name}" for name in TESTS]


def candidates(version):
    """Yield the paths where an interpreter of a version may be, the likeliest first."""
    name = f"python{version[0]}.{version[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    if pyenv.is_dir():
        found = pyenv.glob(f"{version[0]}.{version[1]}.*/bin/{name}")
        yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / name


def find(version):
    """Return (path, full version) of a working interpreter with venv and pip, or None."""
    for path in candidates(version):
        if not os.access(str(path), os.X_OK):
            continue
        probe = subprocess.run(
            [str(path), "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        lines = probe.stdout.decode().split("\n")
        if probe.returncode == 0 and lines[1] == f"{version[0]}.{version[1]}":
            return lines[0], lines[2]
    return None


def install(python, folder, extras):
    """Make a venv, if there is none yet, and install the project and what it takes to test it."""
    if not (folder / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", f".[{extras}]"], cwd=str(ROOT), check=True)


def main(arguments):
    found = {version: find(version) for version in SUPPORTED}
    found = {version: where for version, where in found.items() if where}
    if not found:
        print("no Python from 3.11 to 3.15 on PATH or under pyenv", file=sys.stderr)
        return 2
    if arguments == ["--newest"]:
        print(found[max(found)][0])
        return 0
    if arguments[:1] == ["--only-newest"]:
        newest = max(found)
        found, arguments = {newest: found[newest]}, arguments[1:]
    print("interpreters:", ", ".join(f"{full} ({path})" for path, full in found.values()))
    newest = max(found)
    oldest, legs = min(found), []
    for version in sorted(found):
        left_out = [] if version == newest else ONCE if version == oldest else ONCE + ENDS
        part = [f"--ignore=tests/test_{name}.py" for name in left_out]
        legs.append((version, [], arguments or ["-n", "4", *part]))
    if not arguments:
        legs.append((newest, ["gevent"], ["-n", "4", *BESIDE_GEVENT]))
    results = []
    for version, more, words in legs:
        python, full = found[version]
        name = " and ".join([full, *more])
        started = time.time()
        print(f"\n=== Python {name}: {python}", flush=True)
        folder = VENVS / "-".join(["{}.{}".format(*version), *more])
        install(python, folder, ",".join(["test", *more]))
        command = [str(folder / "bin" / "python"), "-m", "pytest", *words]
        status = subprocess.run(command, cwd=str(ROOT), check=False).returncode
        results.append((name, status, time.time() - started))
    print()
    for name, status, seconds in results:
        print(f"Python {name:8} {'failed' if status else 'passed'} ({seconds:.0f} s)")
    return 1 if any(status for _, status, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
