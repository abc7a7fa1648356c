"""Beside a program that computes a boot shortens the switch interval, for as long as it lasts."""

from harness import Launcher, wait_for

PYTHONS, OURS = 5000, 503  # microseconds

COMPUTES = """
import os, sys
seen, done = set(), False
def interval(): return round(sys.getswitchinterval() * 1e6)
{first}
print("ready", flush=True)
while not done:
    seen.add(interval())
    {then}
"""


def test_a_program_that_computes_has_its_interval_back_once_the_kernel_runs(
    launch: Launcher,
) -> None:
    program = launch(COMPUTES.format(first="", then=""))
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.value("(interval(), seen)") == (PYTHONS, {PYTHONS, OURS})
        assert client.value("(seen.clear(), interval())") == (None, PYTHONS)
        wait_for(lambda: client.value("seen") == {PYTHONS}, "a look at it")
        client.send("done = True")
    assert program.wait() == 0


def test_a_program_that_sleeps_keeps_its_interval(launch: Launcher) -> None:
    program = launch(COMPUTES.format(first="import time", then="time.sleep(0.002)"))
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.value("(interval(), seen)") == (PYTHONS, {PYTHONS})
        client.send("done = True")
    assert program.wait() == 0


def test_an_interval_that_the_program_has_set_is_left_alone(launch: Launcher) -> None:
    program = launch(COMPUTES.format(first="sys.setswitchinterval(0.001)", then=""))
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.value("(interval(), seen)") == (1000, {1000})
        client.send("done = True")
    assert program.wait() == 0


def test_an_interval_that_the_program_sets_meanwhile_stays(launch: Launcher) -> None:
    then = f"if interval() == {OURS}: sys.setswitchinterval(0.002)"
    program = launch(COMPUTES.format(first="", then=then))
    program.wait_for_output("ready")
    with program.client() as client:
        assert client.value("interval()") == 2000
        client.send("done = True")
    assert program.wait() == 0


def test_who_sets_back_what_was_ours_gets_pythons(launch: Launcher) -> None:
    program = launch("import sys, time\nwhile True: time.sleep(0.01)")
    with program.client() as client:
        client.run(f"sys.setswitchinterval({OURS / 1e6})")
        assert client.value("sys.getswitchinterval()") == PYTHONS / 1e6


def test_a_child_that_is_forked_amid_a_boot_has_pythons(launch: Launcher) -> None:
    fork = f"""
    if interval() == {OURS} and not forked:
        forked.append(os.fork())
        if not forked[0]: os._exit(interval() // 100)
        forked.append(os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]))
    """
    program = launch(COMPUTES.format(first="forked = []", then=fork.strip()))
    program.wait_for_output("ready")
    with program.client() as client:
        assert wait_for(lambda: client.value("forked[1:]"), "its end") == [PYTHONS // 100]
        client.send("done = True")
    assert program.wait() == 0


def test_a_program_that_closes_its_console_amid_a_boot_has_pythons(launch: Launcher) -> None:
    program = launch(
        COMPUTES.format(
            first="from rtconsole import stop_console\nstopped = False",
            then=f"""
    if interval() == {OURS} and not stopped:
        stop_console()
        stopped = True
    done = stopped and interval() == {PYTHONS}
    """.strip(),
        )
    )
    program.wait_for_output("ready")
    with program.client(ready=False):
        assert program.wait() == 0
