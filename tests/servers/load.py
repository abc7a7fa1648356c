"""A load generator on loopback: threads that ask a web server again and again."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple

from harness import PATIENCE, wait_for


class Failure(NamedTuple):
    """A request that was not answered: when it began and when it failed, in monotonic seconds."""

    begun: float
    ended: float
    error: Exception

    @property
    def kind(self) -> str:
        return type(self.error).__name__


class Load:
    """Requests, each over a connection of its own, for as long as the context lasts.

    Each has to be answered, but for those that :meth:`losing` is told of.

    Attributes:
        failures: what went wrong: no answer, half of one, or a status that is not 200.
        lost: likewise, but expected by the test.
        served: number of requests that were answered.
        texts: all different answers.
    """

    def __init__(self, port: int, *, path: str = "/", threads: int = 2) -> None:
        self.port = port
        self.path = path
        self.served = 0
        self.failures: list[Failure] = []
        self.lost: list[Failure] = []
        self.texts: set[str] = set()
        self._expected: tuple[type[Exception], ...] = ()
        self._recent: list[str] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
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
        for thread in self._threads:
            thread.join()
        if error is None:
            assert not self.failures, (self.served, self.summary(), self.failures[:5])

    def summary(self) -> Counter[str]:
        """Return how many requests failed in which way."""
        return Counter(failure.kind for failure in self.failures)

    def _ask(self) -> None:
        while not self._stopping.wait(0.002):
            begun, expected = time.monotonic(), self._expected
            try:
                text = get(self.port, self.path)
            except (OSError, http.client.HTTPException) as error:
                failure = Failure(begun, time.monotonic(), error)
                with self._lock:
                    fine = isinstance(error, (*expected, *self._expected))
                    (self.lost if fine else self.failures).append(failure)
            else:
                with self._lock:
                    self.served += 1
                    self.texts.add(text)
                    self._recent.append(text)

    @contextmanager
    def losing(self, *errors: type[Exception]) -> Iterator[None]:
        """Expect that requests fail by these errors: where the server loses some, watched or not.

        Concerns requests that begin or are under way meanwhile. It is to end when the processes
        that end have ended, and a fresh one has answered.
        """
        with self._lock:
            self._expected = errors
        try:
            yield
        finally:
            with self._lock:
                self._expected = ()

    def answers(self, number: int) -> list[str]:
        """Return the next ``number`` answers from now on, in the order in which they came."""
        with self._lock:
            self._recent.clear()
        wait_for(lambda: len(self._recent) >= number, f"{number} answers, {self.summary()}")
        return list(self._recent)

    def wait_for_answer(self, wanted: set[str]) -> None:
        """Wait for the first answer that is one of these."""
        wait_for(lambda: not wanted.isdisjoint(list(self._recent)), f"an answer of {wanted}")

    def wait_for_answers(self, wanted: set[str]) -> None:
        """Wait until all that is wanted is answered, and nothing else any more."""
        deadline = time.monotonic() + PATIENCE
        while (answered := set(self.answers(60))) != wanted:
            assert time.monotonic() < deadline, (answered, wanted, self.summary())


def get(port: int, path: str = "/") -> str:
    """Return the text at an address.

    Raises:
        OSError: there is no answer: ConnectionError if the server would not take the request,
            TimeoutError if nothing came.
        http.client.HTTPException: it is not whole, or its status is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        try:
            text = response.read().decode()
        except ConnectionError as error:  # amid an answer, which is worse than none
            raise http.client.IncompleteRead(b"") from error
        if response.getheader("Content-Length") is None:  # the end of its head is missing
            raise http.client.IncompleteRead(b"")
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        return text
    finally:
        connection.close()
