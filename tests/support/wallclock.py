"""Setting the machine's clock, and putting it back."""

import contextlib
import time
from collections.abc import Iterator

from tccap.engine import clock


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Set the clock, at the end, to the time that it would show."""
    offset_ns = clock.wall_offset_ns()
    try:
        yield
    finally:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset_ns
        time.clock_settime_ns(time.CLOCK_REALTIME, now_ns)


def may_be_set() -> bool:
    """Return whether this process has the right to."""
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns())
    except PermissionError:
        return False
    return True
