"""The arrows of the architecture, read from the imports; they point downward only."""

import ast
from pathlib import Path

import rtconsole

ROOT = Path(__file__).parent.parent
ZMQ_SIDE = {"zmq", "ipykernel", "IPython", "jupyter_client", "tornado", "traitlets", "comm"}
START_UP = (
    *("__init__", "listener", "lifecycle", "forks", "leftovers", "pending", "inherited", "unusual"),
    *("folders", "debuglog", "curve", "refusal", "waking", "room", "descriptors", "renewal"),
    *("native", "replaced", "stale", "turns"),
)

# The side of the person who looks, from the bottom up; those in a line know each other.
OPERATOR = (
    ("errors",),
    ("connection", "places", "processes", "hook"),
    ("targets", "client", "conversation", "ssh"),
    ("diagnosis", "console"),
    ("cli",),
    ("__main__",),
)
# What lives in the program, or gets it there.
PROGRAM = (
    "listener",
    "lifecycle",
    "forks",
    "leftovers",
    "pending",
    "inherited",
    "unusual",
    "waking",
    "renewal",
    "room",
    "native",
    "replaced",
    "turns",
    "embed",
    "refusal",
    "debuglog",
    "kernel",
)


def imports_of(path: Path, *, top_only: bool = False) -> set[str]:
    """Return what a module imports, in full names; with ``top_only`` when it is imported."""
    tree = ast.parse(path.read_text())
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_only_the_kernel_and_the_client_import_zmq_and_ipython() -> None:
    for path in [*modules("sitehook"), *modules("rtconsole")]:
        used = {name.partition(".")[0] for name in imports_of(path)} & ZMQ_SIDE
        if path.name in ("client.py", "conversation.py"):
            at_import = {name.partition(".")[0] for name in imports_of(path, top_only=True)}
            assert not at_import & ZMQ_SIDE, "commands that connect to nothing would pay for it"
            used -= {"zmq", "jupyter_client"}
        if "console" in path.parts:
            used -= {"IPython"}  # its lexer and what knows whether a cell is complete
        if "kernel" not in path.parts:
            assert not used, path


def test_nothing_imports_what_is_above_it() -> None:
    for path in modules("rtconsole"):
        used = imports_of(path)
        assert not any(name.partition(".")[0] == "sitehook" for name in used), path
        if "kernel" in path.parts:
            # the kernel knows the listener by what it is handed, and tells it of its failure
            names = ("listener", "lifecycle", "forks", "waking", "embed")
            above = {f"rtconsole.{name}" for name in names}
            assert not above & used, path
        below = ("listener", "waking", "embed", "refusal")  # they hand over to the kernel
        if "kernel" not in path.parts and path.stem not in below:
            # the operator's side meets the kernel at the protocol, and nowhere else
            assert not any(name.startswith("rtconsole.kernel") for name in used), path


def test_start_up_modules_import_the_standard_library_only() -> None:
    import sys

    for name in START_UP:
        for used in imports_of(ROOT / "rtconsole" / f"{name}.py"):
            top = used.partition(".")[0]
            assert top in sys.stdlib_module_names or top == "rtconsole", (name, used)


def test_modules_are_small() -> None:
    for path in [*modules("sitehook"), *modules("rtconsole")]:
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_public_names_are_these() -> None:
    assert rtconsole.__all__ == ["Console", "__version__", "start_console", "stop_console"]
    for name in rtconsole.__all__:
        assert getattr(rtconsole, name) is not None
