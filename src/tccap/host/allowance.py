"""Time that work for somebody may take: a share of all, saved up to a limit."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

SHARE: Final = 0.05
MOST_S: Final = 0.5  # at once


class Allowance:
    """How much time is left for one kind of work."""

    def __init__(self) -> None:
        self._left_s = MOST_S
        self._as_of = time.monotonic()

    def wait_s(self) -> float:
        """Return how long to wait before the work goes on; 0: not at all."""
        now = time.monotonic()
        self._left_s = min(MOST_S, self._left_s + SHARE * (now - self._as_of))
        self._as_of = now
        return max(0.0, -self._left_s / SHARE)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Take off what the block takes."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._left_s -= time.monotonic() - started
