"""Has the program room for a kernel: memory and threads, as its limits go?

libzmq ends the process by abort() where it gets no thread (4.3.5, thread.cpp) or no memory, and
so may the interpreter. So they are looked for before. Standard library only.
"""

import os
from _thread import allocate_lock, start_new_thread

# Bytes of address space and of data that a kernel takes, most of it only reserved (glibc keeps
# an arena of 64 MB for each thread), and what it takes to tell that there is none.
_ADDRESSES, _DATA = 512 << 20, 160 << 20
_WORD = 24 << 20

# A kernel has nine, and the interpreter one for a moment now and then.
_THREADS = 12


def check() -> None:
    """Raise unless there is room for a kernel.

    Raises:
        MemoryError, RuntimeError: what there is too little of, and of how much.
    """
    _check_memory(_ADDRESSES, _DATA)
    _check_threads()


def check_for_a_word() -> None:
    """Raise MemoryError unless there is room to tell a client that there is none for a kernel."""
    _check_memory(_WORD, _WORD)


def _check_memory(addresses: int, data: int) -> None:
    try:
        import resource

        with open("/proc/self/statm", "rb") as file:
            pages = [int(number) for number in file.read().split()]
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


def _check_threads() -> None:
    """Start as many threads as a kernel has, for a moment.

    That tells more than RLIMIT_NPROC does, which counts other processes of the user's, too, and
    than the limit of a container.
    """
    go, gone = allocate_lock(), allocate_lock()
    go.acquire()
    gone.acquire()
    left = _THREADS

    def wait() -> None:
        nonlocal left
        with go:
            left -= 1
            if not left:
                gone.release()

    started = 0
    try:
        while started < _THREADS:
            start_new_thread(wait, ())
            started += 1
    finally:
        left = started
        go.release()
        if started:
            gone.acquire()
