"""Programs that forbid themselves system calls (seccomp(2)): whoever makes one is killed."""

import platform
from pathlib import Path

import alike
import pytest
from harness import Launcher, wait_for

# socket, connect, accept, sendto, recvfrom, sendmsg, recvmsg, bind, listen, socketpair, accept4;
# and seccomp itself.
NETWORK = {
    "x86_64": ((41, 42, 43, 44, 45, 46, 47, 49, 50, 53, 288), 317),
    "aarch64": ((198, 203, 202, 206, 207, 211, 212, 200, 201, 199, 242), 277),
}
NUMBERS, SECCOMP = NETWORK.get(platform.machine(), ((), 0))

pytestmark = pytest.mark.skipif(
    not (NUMBERS and Path("/proc/sys/kernel/seccomp").exists()), reason="no seccomp(2) here"
)

# What forbids a program all that a network takes: in this thread and those that it starts, or in
# all threads. It is for C's functions, since a library that does this is not at hand.
CONFINE = f"""
import ctypes, struct

def confine(all_threads):
    load, equal, result = 0x20, 0x15, 0x06  # (linux/bpf_common.h)
    killed, allowed = 0x80000000, 0x7fff0000  # (linux/seccomp.h)
    numbers = {NUMBERS}
    steps = [(load, 0, 0, 0)]
    steps += [(equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    steps += [(result, 0, 0, allowed), (result, 0, 0, killed)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(steps), ctypes.addressof(kept))
    C = ctypes.CDLL(None)
    C.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert C.syscall({SECCOMP}, 1, int(all_threads), program) == 0
"""

PRINTS_AND_FORKS = (
    CONFINE
    + """
import os, sys, warnings
warnings.simplefilter("ignore")  # of threads, by forks
confine(False)
for number in range(20):
    print("line", number, flush=True)
    print("error", number, file=sys.stderr, flush=True)
for code in 4, 5:
    pid = os.fork()
    if not pid:
        sys.exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
)

WAITS = """
import os, time
confine(True)
print("confined", flush=True)
while not os.path.exists("go"):
    time.sleep(0.005)
print("goes on")
"""


def test_a_program_without_a_network_prints_forks_and_ends_as_without_a_console(
    launch: Launcher,
) -> None:
    expected = alike.outcome(launch, PRINTS_AND_FORKS, "without")
    assert expected[0] == 0, expected
    assert expected[1].endswith("4\n5\n"), expected
    for state in alike.STATES:
        assert alike.outcome(launch, PRINTS_AND_FORKS, state) == expected, state
        wait_for(lambda: not alike.files(launch), f"no files, {state}")


def test_no_kernel_boots_where_a_client_could_be_the_programs_end(launch: Launcher) -> None:
    program = launch(CONFINE + WAITS, cwd=launch.home)
    path = program.connection_file
    program.wait_for_output("confined")
    with program.client(ready=False) as client:
        client.send("t = 1")
        wait_for(lambda: not path.exists() or not program.is_running(), "the console's end")
        (launch.home / "go").touch()
        assert program.wait() == 0, program.describe()
    assert program.stdout == "confined\ngoes on\n"
    assert program.stderr == ""
    assert "forbidden itself system calls" in program.log
    assert not alike.files(launch)
