"""Prints on request, and says what a print cost: the program of the benchmarks of output.

Run as a program, or in a cell, with the path of a socket on which the requests come: each
is the name of a function below and its arguments, the answer what that returns.

A print is timed on the program's own stream and on a twin, a plain stream on the same
file, in turn: so both numbers of a ratio are taken within a blink of each other, in the
same process.
"""

import logging
import os
import random
import sys
import threading
import time
from collections import deque
from multiprocessing.connection import Client
from time import monotonic_ns, perf_counter_ns

SHORT = "request 1234 served in 17 ms"
LONG = SHORT.ljust(200, ".")

CHUNK = 20  # prints between two looks at the clock
CHUNKS = 50  # of a burst
BURST = 0.02  # seconds after which a burst ends in any case
QUIET = 0.02  # seconds before a burst, in which what was printed is sent
FLOOD = 0.15  # seconds

log = logging.getLogger("program")
# The program's stdout and stderr, as they were when this started.
own = {"stdout": sys.stdout, "stderr": sys.stderr}
twin: dict = {}
# Where those lead. A kernel's lead nowhere, unless they echo.
descriptors = {"stdout": 1, "stderr": 2} if __name__ == "__main__" else {}
for name, stream in own.items():
    if getattr(stream, "echo", None) is not None:
        descriptors[name] = stream.echo.fileno()


def short_line():
    for _ in range(CHUNK):
        print(SHORT)


def long_line():
    for _ in range(CHUNK):
        print(LONG)


def three_values():
    a, b, c = "request", 1234, 17.5
    for _ in range(CHUNK):
        print(a, b, c)


def write():
    for _ in range(CHUNK):
        sys.stdout.write(SHORT + "\n")


def logging_info():
    for _ in range(CHUNK):
        log.info("request %d served in %d ms", 1234, 17)


def to_stderr():
    for _ in range(CHUNK):
        print(SHORT, file=sys.stderr)


class Wrapper:
    """What many write who want to see their output twice."""

    def __init__(self, stream):
        self.stream = stream
        self.kept = deque(maxlen=10_000)

    def write(self, text):
        self.kept.append(text)
        return self.stream.write(text)

    def flush(self):
        self.stream.flush()


def wrap():
    """Put a plain wrapper in place of the streams."""
    for name, stream in own.items():
        own[name] = Wrapper(stream)
    put(own)


def background_zmq_ipython(path):
    """Start that, with its redirection of the output."""
    from background_zmq_ipython import init_ipython_kernel

    init_ipython_kernel(connection_filename=path, connection_fn_with_pid=False, redirect_stdio=True)
    deadline = time.monotonic() + 20
    while sys.stderr is own["stderr"]:
        if time.monotonic() > deadline:
            raise RuntimeError("it does not redirect the output")
        time.sleep(0.01)
    own.update(stdout=sys.stdout, stderr=sys.stderr)
    for name, stream in own.items():  # it copies from a pipe of its own to what was there
        descriptors[name] = stream._thread_stream._original_stdstream_copy


def put(streams):
    """Have these as the program's streams."""
    sys.stdout, sys.stderr = streams["stdout"], streams["stderr"]
    log.handlers[0].setStream(sys.stderr)


def to(path):
    """Write to this file, pipe or terminal."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    is_terminal = os.isatty(file)
    for name in own:
        if name in twin:
            twin[name].close()
        by_line = is_terminal or name == "stderr"  # as the interpreter has it
        twin[name] = open(os.dup(file), "w")  # noqa: SIM115 - stays open
        twin[name].reconfigure(line_buffering=by_line)
        if name in descriptors:
            original = getattr(own[name], "echo", None) or getattr(sys, f"__{name}__")
            original.flush()
            os.dup2(file, descriptors[name])
            original.reconfigure(line_buffering=by_line)
    os.close(file)


def switched(to_own):
    put(own if to_own else twin)
    if not os.isatty(twin["stdout"].fileno()):
        try:
            os.ftruncate(twin["stdout"].fileno(), 0)
        except OSError:
            pass  # a pipe
    time.sleep(QUIET)


def in_threads(count, run):
    """Return what ``run`` returns in each of so many threads; in the main one, if in one."""
    if count == 1:
        return [run()]
    results, barrier = [], threading.Barrier(count)

    def target():
        barrier.wait()
        results.append(run())

    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def burst(shape, threads):
    """Print some, and return what one print took, the median, in nanoseconds."""
    chunk = globals()[shape]

    def run():
        took, end = [], perf_counter_ns() + BURST * 1e9
        for _ in range(CHUNKS):
            started = perf_counter_ns()
            chunk()
            now = perf_counter_ns()
            took.append(now - started)
            if now > end:
                break
        return took

    took = sorted(time for times in in_threads(threads, run) for time in times)
    return took[len(took) // 2] / CHUNK


def flood(shape, threads):
    """Print all the time; return what one print took, all told, in nanoseconds."""
    chunk = globals()[shape]
    started = perf_counter_ns()
    end = started + FLOOD * 1e9

    def run():
        count = 0
        while not count or perf_counter_ns() < end:
            chunk()
            count += CHUNK
        return count

    count = sum(in_threads(threads, run))
    return (perf_counter_ns() - started) / count


def first(shape, threads):
    """Return what a print after quiet takes, in nanoseconds."""
    started = perf_counter_ns()
    print(SHORT)
    return perf_counter_ns() - started


def measure(kind, shape, threads, rounds, sides=(False, True)):
    """Return a list of rounds, each a list of nanoseconds: on the twin, on the own stream."""
    found = []
    try:
        for _ in range(rounds):
            times = []
            for side in sides:
                switched(side)
                times.append(globals()[kind](shape, threads))
            found.append(times)
    finally:
        put(own)
    return found


def print_times(count):
    """Print what time it is, at irregular intervals."""
    put(own)
    chance = random.Random(1)
    for _ in range(count):
        time.sleep(chance.uniform(0, 0.02))
        print(f"at {monotonic_ns()}")
    print("over")


def print_lines(count):
    """Print numbered lines, and return the seconds that it took."""
    put(own)
    started = time.perf_counter()
    for number in range(count):
        print("line", number)
    took = time.perf_counter() - started
    print("over")
    return took


def print_much(megabytes):
    """Print so much, in lines of 200 characters."""
    put(own)
    for _ in range(megabytes * 5000):
        print(LONG)


def peak_memory(begin=False):
    """Return the most memory in megabytes that this process had; with ``begin``: from now on."""
    if begin:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc(5): resets VmHWM
    with open("/proc/self/status") as file:
        (peak,) = (int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return peak / 1024


def serve(path):
    """Do what is asked for until the other side leaves."""
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    log.addHandler(handler)
    with Client(path) as benchmark:
        while True:
            try:
                name, arguments = benchmark.recv()
            except EOFError:
                return
            try:
                answer = globals()[name](*arguments)
            except Exception as error:
                answer = error
            benchmark.send(answer)


if __name__ == "__main__":
    serve(sys.argv[1])
