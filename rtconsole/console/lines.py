"""From pieces of output to lines: what a terminal would show of them, one line at a time.

Colours pass. What would move the cursor elsewhere is dropped, since the prompt is there;
a carriage return, a backspace and "erase line", with which progress is shown, change the
line they are in.
"""

import re

# ECMA-48: control sequences, and strings such as a title or a hyperlink (OSC 8). One that is
# never ended is looked through once, up to the next escape that is not doubled (as tmux has it).
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    r"|[\]PX^_](?:[^\x07\x1b]|\x1b\x1b)*+(?:\x1b\\|\x07)"
    r"|[ -/]*[0-~])"
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# The end of it may come with the next piece; but it is in the same line, or nowhere.
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,4096}|[ -/]*)?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
_NEEDS_CARE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
RESET = "\x1b[0m"

# Characters of a line without an end that are kept for what may still change them.
_LONGEST = 20_000


def without_colours(text: str) -> str:
    """Return ``text`` without any escape sequence."""
    return _ESCAPE.sub("", text)


def harmless(text: str) -> str:
    """Return whole lines as a terminal may show them beside a prompt: colours, no more."""
    return "\n".join(LineBuffer().feed(f"{text}\n"))


class LineBuffer:
    """The line being written, as a terminal would show it.

    Attributes:
        partial: its text so far, colours included.
    """

    def __init__(self) -> None:
        self.partial = ""
        self._cells: list[tuple[str, str]] = []  # (colours, character) of each column
        self._column = 0
        self._colours = ""
        self._rest = ""  # an escape sequence whose end has not come yet

    def feed(self, text: str) -> list[str]:
        """Take more text and return the lines that it ends, without their newlines."""
        text = self._rest + text
        self._rest = ""
        if unfinished := _UNFINISHED.search(text):
            self._rest = unfinished.group()
            text = text[: unfinished.start()]
        finished = []
        *ended, last = text.split("\n")
        for piece in ended:
            piece = piece.removesuffix("\r")  # of a "\r\n"
            if not self._cells and not self._colours and not _NEEDS_CARE.search(piece):
                finished.append(piece)  # the usual line, at no cost
                continue
            self._write(piece)
            finished.append(self.end())
        self._write(last)
        while len(self._cells) > _LONGEST:
            finished.append(self.end())
        self.partial = self._shown()
        return finished

    def end(self) -> str:
        """Return the line as it is and begin another; colours go on."""
        line = self._shown()
        self._cells, self._column, self.partial = [], 0, ""
        return line

    def _write(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = _ESCAPE.match(text, at) if text[at] == "\x1b" else None
            if found is None:
                self._put(text[at])
                at += 1
                continue
            at = found.end()
            sequence = found.group()
            if _COLOUR.fullmatch(sequence):
                is_reset = sequence in ("\x1b[m", "\x1b[0m")
                self._colours = "" if is_reset else self._colours + sequence
            elif sequence == "\x1b[2K":
                self._cells = []
            elif sequence in ("\x1b[K", "\x1b[0K"):
                del self._cells[self._column :]

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            for _ in range(8 - self._column % 8):
                self._put(" ")
        elif not _CONTROL.match(character) and character != "\x1b":
            while len(self._cells) < self._column:
                self._cells.append(("", " "))
            self._cells[self._column : self._column + 1] = [(self._colours, character)]
            self._column += 1

    def _shown(self) -> str:
        parts, colours = [], ""
        for wanted, character in self._cells:
            if wanted != colours:
                parts.append((RESET if colours else "") + wanted)
                colours = wanted
            parts.append(character)
        if colours:
            parts.append(RESET)
        return "".join(parts)
