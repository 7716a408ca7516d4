"""How long the files of each user have taken in this scan of the processes."""

import contextlib
import threading
import time
from collections.abc import Iterator


class Spending:
    """Seconds by user; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent_s: dict[int, float] = {}

    @contextlib.contextmanager
    def charged(self, user: int) -> Iterator[None]:
        """Charge a user with the time of the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            taken_s = time.monotonic() - started
            with self._lock:
                self._spent_s[user] = self._spent_s.get(user, 0.0) + taken_s

    def of(self, user: int) -> float:
        """Return what a user's files have taken."""
        with self._lock:
            return self._spent_s.get(user, 0.0)

    @property
    def total_s(self) -> float:
        """What all files have taken."""
        with self._lock:
            return sum(self._spent_s.values())

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._spent_s.clear()
