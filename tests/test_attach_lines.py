"""What becomes of pieces of output: lines as a terminal would show them, and harmless."""

import pytest

from rtconsole.console.backlog import Backlog, Kind
from rtconsole.console.images import protocol_of, show
from rtconsole.console.lines import LineBuffer, harmless, without_colours
from rtconsole.console.results import html_as_text, text_of

RED, RESET = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("pieces", "finished", "partial"),
    [
        (["one\ntwo\nthr", "ee"], ["one", "two"], "three"),
        (["10%\r20%", "\r30%\n"], ["30%"], ""),
        (["a long line\rshort"], [], "shortg line"),
        (["a long line\r\x1b[Kshort"], [], "short"),
        (["dos\r\nlines\r\n"], ["dos", "lines"], ""),
        (["abc\b\bX"], [], "aXc"),
        (["a\tb\rx\n"], ["x       b"], ""),
        ([f"{RED}red{RESET} plain\n"], [f"{RED}red{RESET} plain"], ""),
        ([f"{RED}red\nstill\n"], [f"{RED}red{RESET}", f"{RED}still{RESET}"], ""),
        (["\x1b[", "31", "mred"], [], f"{RED}red{RESET}"),
        (["\x1b[2J\x1b[1;1Hcleared\x1b]0;title\x07 \x1b[?25l\x9b2J\n"], ["cleared 2J"], ""),
        (["\x00\x07bell\n"], ["bell"], ""),
        (["\x1bPtmux;\x1b\x1b]0;title\x07", "\x1b\\said\n"], ["said"], ""),
        (["\x1b]0;", "title\x1b\\said\n"], ["said"], ""),
        (["\x1b]0;no end\nmore\n"], ["0;no end", "more"], ""),
        (["an escape\x1b\nmore\n"], ["an escape", "more"], ""),
    ],
)
def test_a_line_is_what_a_terminal_would_show(
    pieces: list[str], finished: list[str], partial: str
) -> None:
    buffer = LineBuffer()
    assert [line for piece in pieces for line in buffer.feed(piece)] == finished
    assert buffer.partial == partial


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    buffer = LineBuffer()
    lines = buffer.feed("x" * 100_000)
    assert sum(map(len, lines)) + len(buffer.partial) == 100_000
    assert len(buffer.partial) < 50_000


def test_escapes_without_end_cost_no_more_than_others() -> None:
    # each was looked through to the end of all: minutes for a message of the program's
    assert LineBuffer().feed("\x1b]0;" * 100_000 + "\n") == ["0;" * 100_000]


def test_what_a_cell_came_to_is_never_left_out() -> None:
    backlog = Backlog()
    backlog.add(Kind.PROGRAM, ["one", "two"])
    backlog.add(Kind.KEPT, ["a result"])
    backlog.add(Kind.PROGRAM, ["three", "four"])
    backlog.add(Kind.CELL, ["a print"])
    backlog.limit(Kind.PROGRAM, 1)
    assert list(backlog.take(12)) == ["a result", "four"]
    assert (backlog.left_out, bool(backlog)) == (3, True)
    backlog.limit(Kind.CELL, 0)
    assert (backlog.left_out, bool(backlog)) == (4, False)


def test_whole_text_keeps_its_colours_only() -> None:
    assert harmless(f"{RED}a{RESET}\n\x1b[10Ab") == f"{RED}a{RESET}\nb"
    assert without_colours(f"{RED}a{RESET}\x1b]8;;http://x\x1b\\link") == "alink"


def test_html_is_read_where_there_is_no_text() -> None:
    table = "<table><tr><th>name</th><th>n</th></tr><tr><td>Zoë</td><td>1</td></tr></table>"
    data = {
        "text/plain": "<IPython.core.display.HTML object>",
        "text/html": f"<style>.x {{}}</style><p>So <b>many</b>:</p>{table}",
    }
    assert text_of(data, 80) == "So many:\n\nname  n\n----  -\nZoë   1"
    assert text_of({"text/plain": "3", "text/html": "<b>3</b>"}, 80) == "3"
    assert all(len(line) <= 12 for line in html_as_text(table.replace("Zoë", "x" * 90), 12).split())


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAYAAAC56t6BAAAAEklEQVR4nGNkYPhfz8DAwMAAAAoEAQHx"
    "f2yKAAAAAElFTkSuQmCC"
)


def test_an_image_is_shown_in_the_terminals_own_protocol_or_saved() -> None:
    data = {"image/png": PNG}
    assert protocol_of({"TERM": "xterm-kitty"}) == "kitty"
    assert protocol_of({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}) == ""
    assert protocol_of({"TERM_PROGRAM": "iTerm.app"}) == "iterm"
    assert protocol_of({"TERM": "xterm-256color"}) == ""
    assert show("image/png", data, "kitty").startswith("\x1b_Ga=T,f=100,m=0;iVBOR")
    assert show("image/png", data, "iterm").startswith("\x1b]1337;File=inline=1;size=")
    note = show("image/png", data, "")
    assert note.startswith("(image/png 2x3 saved as /")
    path = note.rpartition(" ")[2].rstrip(")")
    with open(path, "rb") as file:
        assert file.read().startswith(b"\x89PNG")
    import os

    os.unlink(path)
