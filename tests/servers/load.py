"""A load generator on loopback: threads that ask a web server again and again."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from harness import PATIENCE, wait_for


class Load:
    """Requests, each over a connection of its own, for as long as the context lasts.

    Attributes:
        failures: what went wrong: no answer, or a status that is not 200.
        served: number of requests that were answered.
    """

    def __init__(self, port: int, *, path: str = "/", threads: int = 2) -> None:
        self.port = port
        self.path = path
        self.served = 0
        self.failures: list[str] = []
        self._recent: list[str] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._under_way = 0
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._going.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            assert not self.failures, (self.served, Counter(self.failures))

    def _ask(self) -> None:
        while not self._stopping.wait(0.002):
            with self._lock:
                going = self._going.is_set()
                self._under_way += going
            if not going:
                self._going.wait()
                continue
            try:
                text, failure = get(self.port, self.path), ""
            except (OSError, http.client.HTTPException) as error:
                text, failure = "", f"{type(error).__name__}: {error}"
            with self._lock:
                self._under_way -= 1
                if failure:
                    self.failures.append(failure)
                else:
                    self.served += 1
                    self._recent.append(text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No request is under way: for what makes a server lose some, watched or not."""
        with self._lock:
            self._going.clear()
        wait_for(lambda: not self._under_way, "the last answers")
        try:
            yield
        finally:
            self._going.set()

    def answers(self, number: int) -> list[str]:
        """Return the next ``number`` answers from now on, in the order in which they came."""
        with self._lock:
            self._recent.clear()
        wait_for(lambda: len(self._recent) >= number, f"{number} answers, {self.failures}")
        return list(self._recent)

    def wait_for_answers(self, wanted: set[str]) -> None:
        """Wait until all that is wanted is answered, and nothing else any more."""
        deadline = time.monotonic() + PATIENCE
        while (answered := set(self.answers(60))) != wanted:
            assert time.monotonic() < deadline, (answered, wanted, self.failures)


def get(port: int, path: str = "/") -> str:
    """Return the text at an address.

    Raises:
        OSError, http.client.HTTPException: there is no whole answer, or its status is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        return text
    finally:
        connection.close()
