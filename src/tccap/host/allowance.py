"""Time that work for somebody may take: a share of all, saved up to a limit."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

SHARE: Final = 0.05
MOST_S: Final = 0.5  # at once


class Allowance:
    """How much time is left for one kind of work: ``most_s``, then ``share`` of all."""

    def __init__(self, share: float = SHARE, most_s: float = MOST_S) -> None:
        self._share, self._most_s = share, most_s
        self._left_s = most_s
        self._as_of = time.monotonic()

    def wait_s(self) -> float:
        """Return how long to wait before the work goes on; 0: not at all."""
        now = time.monotonic()
        saved_s = self._left_s + self._share * (now - self._as_of)
        self._left_s = min(self._most_s, saved_s)
        self._as_of = now
        return max(0.0, -self._left_s / self._share)

    @contextlib.contextmanager
    def used(self, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Take off what the block takes, by a clock, which may be of processor time."""
        started = clock()
        try:
            yield
        finally:
            self._left_s -= clock() - started
