"""A terminal for the tests: a command in a pseudo-terminal, and the screen that a person sees."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from typing import Any

import pyte
from harness import PATIENCE, wait_for

KEYS = {
    "enter": "\r",
    "tab": "\t",
    "s-tab": "\x1b[Z",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "escape": "\x1b",
    "f4": "\x1bOS",
    "c-c": "\x03",
    "c-d": "\x04",
    "c-o": "\x0f",
    "c-r": "\x12",
    "c-\\": "\x1c",
}


class Terminal:
    """A command on a terminal of its own: type, look at the screen, wait for its end."""

    def __init__(
        self, argv: list[str], env: dict[str, str], columns: int = 100, rows: int = 40
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = b""
        self._is_open = True
        self._master, self._slave = os.openpty()
        self._set_size(columns, rows)
        self.settings = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            argv,
            env={"TERM": "xterm-256color", **env},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            # the terminal's own process group gets SIGWINCH
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._is_open:
            try:
                if not select.select([self._master], [], [], 0.05)[0]:
                    continue
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # -- the person ----------------------------------------------------------------------

    def type(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.type(KEYS[key])

    def enter(self, line: str) -> None:
        self.type(line + "\r")

    def paste(self, text: str) -> None:
        """Paste as a terminal does that was told to mark it (bracketed paste)."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, rows: int) -> None:
        with self._lock:
            screen, cursor = self._screen, self._screen.cursor
            # as xterm: the line with the cursor stays; pyte would drop lines from the top
            if (less := screen.lines - rows) > 0:
                x, y = cursor.x, cursor.y
                cursor.y = screen.lines - 1
                for _ in range(y - rows + 1):
                    screen.index()
                    y -= 1
                cursor.y = 0
                screen.insert_lines(less)
                screen.resize(rows, columns)
                cursor.x, cursor.y = min(x, columns - 1), y
            else:
                screen.resize(rows, columns)
        self._set_size(columns, rows)

    # -- the screen ----------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """What is on the screen and what was scrolled off it, top to bottom."""
        with self._lock:
            above = [_text(line, self._screen.columns) for line in self._screen.history.top]
            return [*above, *(line.rstrip() for line in self._screen.display)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    @property
    def prompt(self) -> str:
        """The last line with anything in it."""
        return next((line for line in reversed(self.lines) if line.strip()), "")

    def color_of(self, text: str) -> Any:
        """Return the foreground colour of the first character of ``text`` on the screen."""
        with self._lock:
            for row, line in enumerate(self._screen.display):
                if (at := line.find(text)) >= 0:
                    return self._screen.buffer[row][at].fg
        raise AssertionError(f"{text!r} is not on the screen:\n{self.text}")

    def expect(self, pattern: str, patience: float = PATIENCE) -> str:
        """Wait until a regular expression matches (lines joined), and return the match."""

        def look() -> "re.Match[str] | None":
            return re.search(pattern, self.text, re.MULTILINE)

        try:
            found: re.Match[str] = wait_for(
                lambda: look() or (self.process.poll() is not None and look()),
                f"{pattern!r} on the screen",
                patience,
            )
        except AssertionError as error:
            status = self.process.poll()
            raise AssertionError(f"{error}\nexit status {status}; screen:\n{self.text}") from None
        return found.group()

    def expect_prompt(self, pattern: str) -> None:
        """Wait until a regular expression matches the last line."""
        try:
            wait_for(lambda: re.search(pattern, self.prompt), f"{pattern!r} as prompt")
        except AssertionError as error:
            raise AssertionError(f"{error}; screen:\n{self.text}") from None

    # -- the end -------------------------------------------------------------------------

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the command's end and return its exit status."""
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running; screen:\n{self.text}") from None
        os.write(self._slave, b"\0")  # all that was written before has been read when this is
        wait_for(lambda: self.raw.endswith(b"\0"), "the rest of the output")
        return status

    def is_restored(self) -> bool:
        """Tell whether the terminal is set as before the command."""
        return termios.tcgetattr(self._slave) == self.settings

    def hang_up(self) -> None:
        """Close the terminal while the command runs on it, which is sent SIGHUP."""
        self._is_open = False
        self._reader.join(PATIENCE)
        os.close(self._slave)
        os.close(self._master)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        if self._is_open:
            self.hang_up()


def _text(line: Any, columns: int) -> str:
    return "".join(line[column].data for column in range(columns)).rstrip()
