"""Programs that close all descriptors, the kernel's too: they go on, and the console is no more."""

import sys
import textwrap

import pytest
from harness import Launcher, wait_for
from test_closing import EVERYTHING

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# It has more descriptors open afterwards than before, so ours are the program's then.
PROGRAM = """
import os, socket, threading, time, warnings
warnings.simplefilter("ignore")  # of a fork beside threads
def closes():
    os.closerange(3, 65536)
while not os.path.exists("go"): time.sleep(0.01)
{way}
pairs = [socket.socketpair() for _ in range(150)]
files = [open(f"own {{n}}", "w+") for n in range(150)]
for n in range(130):  # a second, after which libzmq would forget who has left
    print(n, flush=True)
    time.sleep(0.01)
for file in files:
    file.write("own")
    file.seek(0)
    assert file.read() == "own"
for pair in pairs:
    for one, other in pair, pair[::-1]:
        one.send(b"own")
        assert other.recv(9) == b"own"
pid = os.fork()
if pid == 0: os._exit(0)
os.waitpid(pid, 0)
print("done")
"""

# A cell, and what it leaves to be done when the descriptors are gone.
LATER = """
import asyncio
print(6 * 7)
later = asyncio.get_running_loop().call_later(1, print, "later")
"""

WAYS = {
    "in a call": "closes()",
    "one by one": textwrap.dedent(EVERYTHING["one by one"]),
    "in a thread": "thread = threading.Thread(target=closes); thread.start(); thread.join()",
}


@pytest.mark.parametrize(
    ("way", "transport", "stays"),
    [
        *((way, "ipc", True) for way in WAYS),
        ("in a call", "ipc", False),
        ("in a call", "tcp", True),
        ("in a call", "tcp", False),
    ],
)
def test_a_program_that_closes_all_descriptors_beside_a_kernel_goes_on(
    launch: Launcher, way: str, transport: str, stays: bool
) -> None:
    program = launch(
        PROGRAM.format(way=WAYS[way]),
        cwd=launch.home,
        env={"RTCONSOLE_TRANSPORT": transport},
    )
    with program.client() as client:
        client.kernel.hb_channel.pause()
        assert client.run(LATER).stdout == "42\n"
        if not stays:
            client.close()
        wait_for(program.rests, "the kernel to have nothing to do")
        (launch.home / "go").touch()
        assert program.wait() == 0, program.describe()
    assert program.stdout == "".join(f"{n}\n" for n in range(130)) + "done\n"
    assert program.stderr == ""
