"""Lost packets, reported while the capture runs."""

import time
from collections.abc import Callable

from tccap.ipc.status import Lost, report
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Section

REPORT_S = 3.0


class Losses:
    """Writes, every REPORT_S seconds, the counts of interfaces that lost packets."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._counts: list[Statistics] = []
        self._counted_at = time.monotonic()
        self._has_news = False  # packets came since the counts were read

    def packets_came(self) -> None:
        """Take note that there is something to count."""
        self._has_news = True

    @property
    def timeout_s(self) -> float | None:
        """Return after how many seconds to ask again; None: never."""
        return REPORT_S if self._has_news else None

    def blocks(self, read: Callable[[], list[Statistics]]) -> list[bytes]:
        """Return the blocks to write now; ``read`` returns the counts by interface."""
        if not self._has_news or time.monotonic() - self._counted_at < REPORT_S:
            return []
        self._counted_at = time.monotonic()
        self._has_news = False
        counts, before = read(), self._counts
        before += [Statistics(0, 0, 0, 0)] * (len(counts) - len(before))
        lost = sum(count.dropped for count in counts)
        if lost > sum(count.dropped for count in before):
            report(Lost(lost))
        self._counts = counts
        return [
            self._section.statistics(number, time.time_ns(), new)
            for number, (old, new) in enumerate(zip(before, counts, strict=True))
            if new.dropped > old.dropped
        ]
