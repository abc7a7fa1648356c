"""Programs with windows and a main loop in C: Qt (offscreen) and tkinter (on a screen of Xvfb)."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Client, Launcher, Program, wait_for

QT = """
import sys
from PySide6 import QtCore, QtWidgets

application = QtWidgets.QApplication(sys.argv)
label = QtWidgets.QLabel("before")
field = QtWidgets.QLineEdit("typed")
label.show()
ticks, changes = 0, []

class Bridge(QtCore.QObject):
    change = QtCore.Signal(str)

bridge = Bridge()
bridge.change.connect(label.setText)
bridge.change.connect(changes.append)

def count():
    global ticks
    ticks += 1

timer = QtCore.QTimer()
timer.timeout.connect(count)
timer.start(5)
print("shown", flush=True)
code = application.exec()
print("end", flush=True)
sys.exit(code)
"""

TK = """
import tkinter

root = tkinter.Tk()
text = tkinter.StringVar(root, "before")
label = tkinter.Label(root, textvariable=text)
label.pack()
ticks = 0

def count():
    global ticks
    ticks += 1
    root.after(5, count)

root.after(5, count)
print("shown", flush=True)
root.mainloop()
print("end", flush=True)
"""


@pytest.fixture
def qt(launch: Launcher) -> Program:
    pytest.importorskip("PySide6")
    check = [sys.executable, "-c", "from PySide6 import QtWidgets"]
    missing = subprocess.run(check, capture_output=True, text=True, check=False)
    if missing.returncode:
        pytest.skip(f"Qt's libraries: {missing.stderr.splitlines()[-1]}")
    program = launch(QT, env={"QT_QPA_PLATFORM": "offscreen"})
    program.wait_for_output("shown")
    return program


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A display of our own."""
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("Xvfb is not installed")
    with tempfile.TemporaryFile("w+") as answer:
        arguments = ["-displayfd", str(answer.fileno()), "-nolisten", "tcp"]
        process = subprocess.Popen(
            [server, *arguments],
            pass_fds=[answer.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def number() -> str:
            assert process.poll() is None, "Xvfb has ended"
            answer.seek(0)
            text = answer.read()
            return text.strip() if text.endswith("\n") else ""

        try:
            yield f":{wait_for(number, 'the screen')}"
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def tk(launch: Launcher, screen: str) -> Program:
    pytest.importorskip("tkinter")
    program = launch(TK, env={"DISPLAY": screen})
    program.wait_for_output("shown")
    return program


@pytest.fixture(params=["qt", "tk"])
def window(request: pytest.FixtureRequest) -> Program:
    program: Program = request.getfixturevalue(request.param)
    return program


def ticks_during(client: Client, cell: str) -> int:
    before = client.value("ticks")
    assert client.run(cell).status == "ok", cell
    return int(client.value("ticks")) - before


def interrupting(client: Client) -> Callable[[dict[str, Any]], None]:
    """Return what interrupts a cell once, when it has printed that it begins."""
    begun: list[bool] = []

    def see(message: dict[str, Any]) -> None:
        if "begins" in message["content"].get("text", "") and not begun:
            begun.append(True)
            client.interrupt()

    return see


def test_the_main_loop_goes_on_while_cells_run(window: Program) -> None:
    for _ in range(2):
        with window.client() as client:
            # 400 in two seconds of a quiet machine; next to none if it stood still
            assert ticks_during(client, "import time; time.sleep(2)") > 20
            assert ticks_during(client, "import asyncio; await asyncio.sleep(2)") > 20
            cell = "end = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
            assert ticks_during(client, cell) > 20
            assert client.run("1/0").error == "ZeroDivisionError"
            message = client.send("print('begins'); time.sleep(600)")
            assert client.finish(message, see=interrupting(client)).error == "KeyboardInterrupt"
    assert window.is_running(), window.describe()


@pytest.mark.parametrize("magic", ["%gui qt", "%gui qt6", "%gui tk", "%gui", "%matplotlib inline"])
def test_ipythons_magics_for_main_loops_leave_the_programs_alone(
    window: Program, magic: str
) -> None:
    with window.client() as client:
        client.run(magic)  # an error is as good
        assert ticks_during(client, "import time; time.sleep(0.5)") > 5
        assert client.run("6 * 7").result == "42"
    assert window.is_running(), window.describe()
    with window.client() as client:
        assert client.run("6 * 7").result == "42"
        assert ticks_during(client, "import time; time.sleep(0.5)") > 5


def test_a_cell_changes_qts_widgets_by_signals_and_the_program_ends_clean(qt: Program) -> None:
    with qt.client() as client:
        assert client.run("label.text(), field.text()").result == "('before', 'typed')"
        client.run("bridge.change.emit('after')")
        wait_for(lambda: client.value("changes") == ["after"], "the signal")
        assert client.run("label.text()").result == "'after'"
        cell = "QtCore.QTimer.singleShot(0, application, lambda: field.setText('by a timer'))"
        assert client.run(cell).status == "ok"
        wait_for(lambda: client.value("field.text()") == "by a timer", "the timer")
        assert client.run("field").status == "ok"
        assert "setText" in client.shell_reply(client.kernel.complete("label.setTex"))["matches"][0]
        cell = "QtCore.QMetaObject.invokeMethod(application, 'quit', "
        client.send(cell + "QtCore.Qt.ConnectionType.QueuedConnection)")
        assert qt.wait() == 0
    assert (qt.stdout, qt.stderr) == ("shown\nend\n", "")


def test_a_cell_changes_tkinters_widgets_and_the_program_ends_clean(tk: Program) -> None:
    with tk.client() as client:
        assert client.run("label.cget('text')").result == "'before'"
        assert client.run("text.set('after')").status == "ok"
        assert client.run("label['text']").result == "'after'"
        assert client.run("button = tkinter.Button(root, text='new'); button.pack()").status == "ok"
        assert client.run("button.winfo_class()").result == "'Button'"
        assert client.run("root.after(0, lambda: text.set('by a timer'))").status == "ok"
        wait_for(lambda: client.value("text.get()") == "by a timer", "the timer")
        client.send("root.after(0, root.destroy)")
        assert tk.wait() == 0
    assert (tk.stdout, tk.stderr) == ("shown\nend\n", "")


def test_windows_that_were_looked_into_close_as_without(window: Program, launch: Launcher) -> None:
    with window.client() as client:
        client.run("import time; time.sleep(0.1)")
        assert client.run("undefined").error == "NameError"
    assert window.is_running()
    window.process.terminate()
    assert window.wait() == -15
    assert not Path(window.stderr_file).read_text()
