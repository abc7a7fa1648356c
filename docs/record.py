"""Record attach.svg: a program, attached to, in a terminal; what is typed is typed here.

pip install rich, beside the project and its [test] extra, and run it.
"""

import io
import re
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # for the harness

from harness import Launcher  # noqa: E402
from terminal import Terminal  # noqa: E402

COLUMNS = 84

PROGRAM = '''
import time

def hello(x):
    """Return what comes after x."""
    return x + 1

t = s = 0
while True:
    t += 1
    s = hello(s)
    print(f"hello number {t} makes {s}")
    time.sleep(1.5)
'''


def play(terminal: Terminal) -> None:
    """Type as a person would, who looks on for a while now and then."""
    for line, seconds in (
        ("t, s", 3),
        ("hello = lambda x: x + 1000", 3.5),
        ("t, s, hello(None)", 2),
        ("s.bit_", 1),
    ):
        terminal.expect_prompt(r"In(\[\d+\])?:$")
        for character in line:
            terminal.type(character)
            time.sleep(0.05)
        terminal.press("tab" if line.endswith("_") else "enter")
        time.sleep(seconds)


def style_of(cell: Any) -> Style:
    """Return rich's style of one of pyte's characters."""
    return Style(color=color(cell.fg), bgcolor=color(cell.bg), bold=cell.bold, reverse=cell.reverse)


def color(name: str) -> str | None:
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    names = {"default": None, "brown": "yellow"}
    return names.get(name, name.replace("bright", "bright_"))


def picture(screen: Any) -> str:
    """Return what is on the screen as an SVG."""
    text = Text()
    last = max(row for row, line in enumerate(screen.display) if line.strip())
    for row in range(last + 1):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        for style, alike in groupby(cells, style_of):
            text.append("".join(cell.data for cell in alike), style)
        text.append("\n")
    text.rstrip()
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(text, end="")
    return console.export_svg(title="rtconsole attach counter", unique_id="attach")


with tempfile.TemporaryDirectory(prefix="rt-") as home:
    launch = Launcher(Path(home))
    program = launch(PROGRAM, name="counter.py")
    assert program.connection_file
    command = [sys.executable, "-m", "rtconsole", "attach", str(program.pid)]
    terminal = Terminal(command, launch.environment(RTCONSOLE=None), COLUMNS, rows=32)
    try:
        play(terminal)
        (HERE / "attach.svg").write_text(picture(terminal._screen))
        print(terminal.text)
    finally:
        terminal.close()
        program.stop()
