"""Has the program room for a kernel: memory and threads, as its limits go; and forks that bear one?

libzmq ends the process by abort() where it gets no thread (4.3.5, thread.cpp) or no memory, and
so may the interpreter. So they are looked for before. Standard library only.
"""

import os
import sys
from contextlib import contextmanager

from . import STACK, descriptors, listener

TYPE_CHECKING = False  # importing `typing` costs as much as all of this module
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_own: "Any" = listener  # has imported what concerns threads before a program replaced it

# Bytes of address space and of data that a kernel takes, most of it only reserved (glibc keeps
# an arena of 64 MB for each thread), with some for the program; and what it takes to tell that
# there is none.
_ADDRESSES, _DATA = 768 << 20, 160 << 20
_WORD = 24 << 20

# A kernel has nine, and the interpreter one for a moment now and then.
_THREADS = 12


@contextmanager
def for_deep_calls() -> "Iterator[None]":
    """Have threads that start in the with block get a stack of the system's usual size, or more.

    A program may give its own little (``threading.stack_size``): our imports would overrun that,
    and end it.
    """
    stack_size = _own.stack_size
    programs = stack_size(STACK)
    try:
        yield
    finally:
        if (since := stack_size(programs)) != STACK:  # it has set one meanwhile
            stack_size(since)


def has_lock() -> bool:
    """Tell whether this interpreter runs one thread at a time: without that there is no console.

    Forks hang beside one (PEP 703; :func:`sitehook.has_lock`).
    """
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())  # Python 3.13 and later


def check_memory() -> None:
    """Raise MemoryError unless there is memory for a kernel."""
    _check(_ADDRESSES, _DATA)


def check_for_a_word() -> None:
    """Raise MemoryError unless there is enough to tell a client that there is none for a kernel."""
    _check(_WORD, _WORD)


def _check(addresses: int, data: int) -> None:
    try:
        import resource

        pages = [int(number) for number in descriptors.contents("/proc/self/statm").split()]
    except (ImportError, OSError, ValueError):  # Windows; no /proc
        return
    page = os.sysconf("SC_PAGE_SIZE")
    # proc(5): the sizes of all, and of data and stack, in pages
    for name, needed, used in (("AS", addresses, pages[0]), ("DATA", data, pages[5])):
        limit = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
        if limit >= 0 and limit - used * page < needed:
            left = max(0, limit - used * page) >> 20
            raise MemoryError(
                f"the program may use {left} MB more (RLIMIT_{name}); a kernel takes {needed >> 20}"
            )


def check_forks() -> None:
    """Raise RuntimeError in uWSGI's master, unless it tells Python of its forks.

    Else it forks without the interpreter's lock, which its child takes first of all
    (plugins/python/python_plugin.c, uwsgi_python_master_fixup): if a thread here has it just
    then, the worker waits for ever. No at-fork handler of ours is called.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    try:
        hooked = uwsgi.masterpid() != os.getpid() or "py-call-uwsgi-fork-hooks" in uwsgi.opt
    except Exception:  # a module of the program's, or a uWSGI unlike those that we know
        return
    if not hooked:
        raise RuntimeError(
            "a worker that uWSGI's master forks beside a busy kernel hangs: attach to its workers,"
            " or start it with py-call-uwsgi-fork-hooks"
        )


def check_threads() -> None:
    """Raise RuntimeError unless as many threads as a kernel has can be started, for a moment.

    That tells more than RLIMIT_NPROC does, which counts other processes of the user's, too, and
    than the limit of a container. They are the C library's: each of Python's would have
    reserved 64 MB of addresses for good.
    """
    try:
        import ctypes

        library: Any = ctypes.CDLL(None)
        wait = ctypes.cast(library.sem_wait, ctypes.c_void_p)
        create, join = library.pthread_create, library.pthread_join
    except Exception:  # Windows; an audit hook that forbids it
        return
    semaphore = ctypes.create_string_buffer(64)
    library.sem_init(semaphore, 0, 0)
    threads: list[Any] = []
    try:
        while len(threads) < _THREADS:
            thread = ctypes.c_ulong()
            if create(ctypes.byref(thread), None, wait, semaphore):
                left = len(threads)
                raise RuntimeError(f"can't start new thread after {left}; a kernel has {_THREADS}")
            threads.append(thread)
    finally:
        for _ in threads:
            library.sem_post(semaphore)
        for thread in threads:
            join(thread, None)
        library.sem_destroy(semaphore)
