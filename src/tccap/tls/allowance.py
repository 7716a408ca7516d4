"""A share of one CPU, for a thread that has to be quick most of the time."""

import time

BURST_S = 0.2  # so much may be used at once


class Allowance:
    """Counts the processor time that a thread uses for something."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._debt_s = 0.0
        self._counted_at = time.monotonic()

    def pause_s(self, used_s: float) -> float:
        """Return for how long to do nothing after using so much."""
        now = time.monotonic()
        repaid_s = self._share * (now - self._counted_at)
        self._debt_s = max(0.0, self._debt_s - repaid_s) + used_s
        self._counted_at = now
        return max(0.0, self._debt_s - BURST_S) / self._share
