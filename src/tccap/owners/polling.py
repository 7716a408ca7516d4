"""When to look for new sockets, where neither hooks nor tracepoints see them all."""

import time

from tccap.owners.search import Search

# Polling takes at most this share of the engine's time.
SHARE = 0.05
PAUSE_S = 0.005
FILTERED_PAUSE_S = 0.02


class Polling:
    """Searches again and again.

    ``wakes_loop``: packets that a process filter holds back wake nobody, so that with
    such a filter only the clock finds the sockets of new processes.
    """

    def __init__(self, search: Search, *, wakes_loop: bool) -> None:
        self._search = search
        self._wakes_loop = wakes_loop
        self._polled_at = 0.0
        self._pause_s = PAUSE_S

    @property
    def timeout_s(self) -> float | None:
        """Return after how long `poll` has to be called; None: never."""
        return max(FILTERED_PAUSE_S, self._pause_s) if self._wakes_loop else None

    def poll(self) -> None:
        """Search, if it is time to."""
        started = time.monotonic()
        if started < self._polled_at + self._pause_s:
            return
        self._search.run()
        self._polled_at = time.monotonic()
        self._pause_s = max(PAUSE_S, (self._polled_at - started) / SHARE)
