"""When to look for new sockets, where neither hooks nor tracepoints see them all."""

import time
from collections.abc import Callable

from tccap.ipc.channel import Message, Search

# Polling takes at most this share of a CPU.
SHARE = 0.05
PAUSE_S = 0.005
FILTERED_PAUSE_S = 0.02


class Polling:
    """Has the engine search again and again.

    ``wakes_loop``: packets that a process filter holds back wake nobody, so that with
    such a filter only the clock finds the sockets of new processes.
    """

    def __init__(self, ask: Callable[[Message], None], *, wakes_loop: bool) -> None:
        self._ask = ask
        self._wakes_loop = wakes_loop
        self._is_asked = False  # there will be an answer
        self._searched_at = 0.0
        self._pause_s = PAUSE_S

    @property
    def timeout_s(self) -> float | None:
        """Return after how long `poll` has to be called; None: never."""
        if not self._wakes_loop or self._is_asked:
            return None
        return max(FILTERED_PAUSE_S, self._pause_s)

    def poll(self) -> None:
        """Ask for a search, if it is time to."""
        if self._is_asked or time.monotonic() < self._searched_at + self._pause_s:
            return
        self._is_asked = True
        self._ask(Search())

    def searched(self, taken_s: float) -> None:
        """Take the answer: how long the search took."""
        self._is_asked = False
        self._searched_at = time.monotonic()
        self._pause_s = max(PAUSE_S, taken_s / SHARE)
