"""The table that ``make faults`` prints."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """One fault. ``counted`` are packets that the statistics call lost."""

    fault: str
    outcome: str
    sent: int | None = None  # None: no packets were counted
    captured: int = 0
    counted: int = 0
    left: str = "nothing"

    @classmethod
    def lines(cls, rows: "Iterable[Row]") -> Iterator[str]:
        """Yield the table, line by line."""
        yield f"{'fault':42} {'sent = captured + counted':32} {'left':10} what happened"
        for row in rows:
            sums = f"{row.sent} = {row.captured} + {row.counted}"
            sums = "" if row.sent is None else sums
            yield f"{row.fault:42} {sums:32} {row.left:10} {row.outcome}"
