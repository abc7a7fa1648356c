"""What one look into a program changes of its process: with a console, and with others."""

import contextlib
import queue
from pathlib import Path
from typing import Any

import footprint
from harness import Client, Program, wait_for
from programs import BARE, Usual
from report import Report, Row
from test_footprint import ANSWERS, CELLS, PROGRAM, picture

# How each gets a kernel into the program once it has begun; all of them in a thread, since
# the program goes on. Signals can be handled in the main thread only: ipykernel's is told so.
STARTS = {
    "a console": "",
    "ipykernel's embed_kernel": """
from ipykernel.kernelapp import IPKernelApp
IPKernelApp.init_signal = lambda self: None
from ipykernel.embed import embed_kernel
embed_kernel(sys.modules["__main__"], globals(), connection_file=path)
""",
    "background-zmq-ipython": """
from background_zmq_ipython import init_ipython_kernel
init_ipython_kernel(user_ns=globals(), connection_filename=path, connection_fn_with_pid=False)
""",
}
STARTER = """
def start():
    while not os.path.exists("picture1"): time.sleep(0.005)
    exec(compile(open("start.py").read(), "start.py", "exec"), globals())
threading.Thread(target=start, daemon=True).start()
"""


def look(client: Client) -> None:
    """Run what people run. What a kernel cannot do in a thread it need not."""
    for cell in CELLS:
        message_id = client.send(cell, allow_stdin=True)
        with contextlib.suppress(queue.Empty):
            if cell in ANSWERS:
                client.kernel.get_stdin_msg(timeout=2)
                client.kernel.input(ANSWERS[cell])
            client.finish(message_id, 5)


def changed(launch: Usual, kind: str) -> list[str]:
    """Return what differs in a program after it was looked into."""
    folder = launch.home / kind.split()[-1]
    folder.mkdir()
    path = folder / "kernel.json"
    (folder / "start.py").write_text(f"path = {str(path)!r}\n{STARTS[kind]}")
    is_ours = not STARTS[kind]
    env = {"PYTHONPATH": str(Path(footprint.__file__).parent), "HOME": str(launch.home)}
    env.update({} if is_ours else {**BARE, "PYTHONWARNINGS": "ignore"})
    source = PROGRAM.replace("t = 0\n", "t = 0\n" if is_ours else f"path = start = 0\n{STARTER}")
    program: Program = launch(source, cwd=folder, env=env)
    before, again = (_picture(program, folder, number) for number in (0, 1))
    assert not footprint.differences(before, again)
    file = program.connection_file if is_ours else path
    wait_for(lambda: file.exists() and file.stat().st_size, f"the kernel: {program.stderr}")
    client = Client(file).ready()
    try:
        look(client)
    finally:
        client.close()
    after = _picture(program, folder, 2)
    # all names in __main__ are one piece
    pieces = (what.partition(".") for what, _, _ in footprint.differences(before, after))
    names = (f"{first}{dot}{rest}" if first != "__main__" else first for first, dot, rest in pieces)
    return list(dict.fromkeys(names))


def _picture(program: Program, folder: Path, number: int) -> dict[str, Any]:
    program.home = folder
    return picture(program, number)


def test_footprint(launch: Usual, report: Report) -> None:
    found = {kind: changed(launch, kind) for kind in STARTS}
    ours, *others = found.items()
    for kind, differing in others:
        what = f"pieces of process-wide state changed by {ours[0]}"
        report.add(Row(what, len(ours[1]), "", kind, len(differing), 0, "value"))
        report.notes.append(f"Changed by {kind}: {', '.join(differing)}.")
