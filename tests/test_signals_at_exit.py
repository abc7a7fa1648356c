"""A signal's handler that raises while the console is ending: it is as if no console were there."""

import alike
import pytest
from harness import Launcher

# The console's end asks for files to be removed, which the program sees: there comes the signal.
AMID = """
import _thread, atexit
class Timeout(Exception): pass
def handler(*_): raise {error}
signal.signal(signal.SIGUSR1, handler)
armed, seen = False, []
def look(event, arguments):
    mine = f"/kernel-rt-{{os.getpid()}}.json"
    if armed and event == "os.remove" and str(arguments[0]).endswith(mine) and mine not in seen:
        seen.append(mine)
        os.kill(os.getpid(), signal.{number})
sys.addaudithook(look)
"""


ARM = "armed = True\n"


def amid(error: str = "Timeout", number: str = "SIGUSR1") -> str:
    return AMID.format(error=error, number=number)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        *(("dormant", error) for error in ("Timeout", "KeyboardInterrupt", "SystemExit(3)")),
        *((state, "Timeout") for state in ("booting", "attached", "in a cell")),
    ],
)
def test_a_handler_that_raises_amid_the_consoles_end_is_not_told_of(
    launch: Launcher, state: str, error: str
) -> None:
    assert alike.outcome(launch, amid(error) + ARM, state) == (0, "", "")
    assert alike.files(launch) == []


@pytest.mark.parametrize("state", ["dormant", "attached"])
def test_nor_is_one_that_raises_amid_the_end_of_a_forked_child(
    launch: Launcher, state: str
) -> None:
    source = amid() + (
        "import warnings\n"
        "warnings.simplefilter('ignore')  # of a fork beside a thread\n"
        "if os.fork(): print(os.wait()[1], flush=True)\n" + ARM
    )
    assert alike.outcome(launch, source, state) == (0, "0\n", "")
    assert alike.files(launch) == []


@pytest.mark.parametrize("state", ["dormant", "attached"])
def test_nor_is_what_came_just_before(launch: Launcher, state: str) -> None:
    # The callback is in C, so that no handler is called before the console's; then the first
    # raises, and leaves the other for later.
    source = (
        amid()
        + ARM
        + (
            "signal.signal(signal.SIGUSR2, handler)\n"
            "for number in signal.SIGUSR1, signal.SIGUSR2:\n"
            "    atexit.register(_thread.interrupt_main, number)\n"
        )
    )
    assert alike.outcome(launch, source, state) == (0, "", "")
    assert alike.files(launch) == []


def test_the_programs_callbacks_are_called_with_its_mask_and_get_what_the_handler_raises(
    launch: Launcher,
) -> None:
    program = launch(
        "import os, signal, sys\n"
        + amid()
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
def mask(): print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)
def after(): pass
def told(found):
    print(repr(found.exc_value), found.exc_traceback.tb_frame.f_code.co_name, flush=True)
sys.unraisablehook = told
atexit.register(mask)
atexit.register(after)
import rtconsole
rtconsole.start_console()
atexit.register(mask)
"""
        + ARM,
        env={"RTCONSOLE": None},
    )
    assert (program.wait(), program.stderr) == (0, "")
    assert program.stdout == "1\nTimeout() after\n1\n"
    assert alike.files(launch) == []


def test_a_signal_without_a_handler_ends_the_program_amid_the_consoles_end(
    launch: Launcher,
) -> None:
    # which may take some time if somebody is connected
    source = amid(number="SIGTERM") + ARM
    assert alike.outcome(launch, source, "attached") == (-15, "", "")
    assert alike.files(launch) != []
