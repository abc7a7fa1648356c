"""How output arrives: how soon, how much in a second, and what a slow client costs in memory."""

import json
import re
import signal
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness import wait_for
from programs import BARE, Usual
from report import Report, Row
from subjects import HERE, OUT_STREAM, Subject

PRINTS = 1000
LINES, ROUNDS = 1_000_000, 5
FLOOD = 200  # megabytes
KEPT = 16  # megabytes for a slow client: RTCONSOLE_BUFFER by default

# Subscribes to everything, says so, and reads it until it is stopped.
READER = HERE / "reading.py"
PRINTED_AT = re.compile(rb"at (\d+)")


@pytest.fixture
def attached(launch: Usual) -> Iterator[Subject]:
    subject = Subject(launch, {}).attach()
    try:
        yield subject.hear()
    finally:
        subject.close()


def milliseconds_to_receipt(subject: Subject, prints: int) -> list[float]:
    """Return how long each print took to arrive, sorted."""
    subject.ask("print_times", prints)
    found = [
        (came - int(printed)) / 1e6
        for came, content in subject.outputs()
        for printed in PRINTED_AT.findall(content)
    ]
    subject.answer()
    assert len(found) == prints
    return sorted(found)


def test_from_print_to_receipt(
    benchmark: Any, attached: Subject, launch: Usual, report: Report
) -> None:
    there = Subject(launch)
    try:
        theirs = milliseconds_to_receipt(there.hear(), PRINTS)
    finally:
        there.close()
    ours = benchmark.pedantic(milliseconds_to_receipt, args=(attached, PRINTS), rounds=1)
    benchmark.extra_info.update(ours=ours, theirs=theirs)
    report.latencies.update({"attached": ours, OUT_STREAM: theirs})
    for percent, reach in ((50, 1), (90, None), (99, 5)):
        one, other = (statistics.quantiles(found, n=100)[percent - 1] for found in (ours, theirs))
        what = f"from print to receipt, {percent} of 100"
        report.add(Row(what, one, "ms", OUT_STREAM, other, reach, "value"))


def test_a_flood_to_a_client_that_keeps_up(
    benchmark: Any, attached: Subject, launch: Usual, report: Report
) -> None:
    bare = Subject(launch, BARE)
    alone: list[float] = []
    took: list[float] = []
    received: list[list[bytes]] = []

    def print_alone() -> None:
        alone.append(bare("print_lines", LINES))

    def flood() -> None:
        attached.ask("print_lines", LINES)
        received.append([content for _, content in attached.outputs()])
        took.append(attached.answer())

    try:
        benchmark.pedantic(flood, setup=print_alone, rounds=ROUNDS)
    finally:
        bare.close()
    lost = max(map(_missing, received))
    what = f"a flood of {LINES:,} lines"
    report.add(Row(f"{what}, lost", lost, "lines", reach=0, by="value"))
    seconds, arrived = statistics.median(alone), benchmark.stats.stats.median
    report.add(Row(f"{what}, to print them", statistics.median(took), "s", "bare", seconds))
    report.add(Row(f"{what}, until all are there", arrived, "s", "bare", seconds))


def _missing(received: list[bytes]) -> int:
    """Return how many of the numbered lines are not there, or not in their place."""
    lines = "".join(json.loads(content).get("text", "") for content in received).splitlines()
    return LINES - sum(line == f"line {number}" for number, line in enumerate(lines[:LINES]))


def growth(subject: Subject) -> float:
    """Have a flood, and return by how many megabytes the program's memory grew at most."""
    before = subject("peak_memory", True)
    subject("print_much", FLOOD)
    time.sleep(0.5)  # until what is kept is kept
    return float(subject("peak_memory")) - before


def test_memory_beside_a_client_that_does_not_read(launch: Usual, report: Report) -> None:
    subject, bare = Subject(launch, {}), Subject(launch, BARE)
    reader = launch(READER, str(subject.program.connection_file), env=BARE)

    def is_read() -> bool:
        subject("print_times", 1)
        return "reading" in reader.stdout

    try:
        wait_for(is_read, "the reader")
        reader.signal(signal.SIGSTOP)
        grown, alone = growth(subject), growth(bare)
    finally:
        subject.close()
        bare.close()
    what = f"a flood of {FLOOD} MB to a stopped client, memory"
    report.add(Row(what, grown, "MB", "bare", alone, 2 * KEPT, "difference"))
