"""The wall clock for packets, and when it is set.

Packets carry the boot clock plus an offset to the wall clock. Both clocks run at the
same rate (time corrections slew both), so the offset changes only when the wall clock
is set. The kernel reports that by cancelling a timer (timerfd_create(2),
TFD_TIMER_CANCEL_ON_SET).
"""

import contextlib
import ctypes
import os
import time
from typing import Self

from tccap.host import libc, timer

_TFD_TIMER_ABSTIME = 1  # include/linux/timerfd.h
_TFD_TIMER_CANCEL_ON_SET = 2
_FAR_FUTURE_S = 1 << 40


def wall_offset_ns() -> int:
    """Return wall clock minus boot clock in ns, accurate to about 1 µs."""
    # The fastest of a few readings: we may be interrupted between two clocks.
    return min(_reading() for _ in range(5))[1]


class SetAlarm:
    """Becomes readable when the wall clock has been set."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = libc.call("timerfd_create", time.CLOCK_REALTIME, flags)
        self._arm()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def clear(self) -> None:
        """Prepare for the next time; call it before reading the clock."""
        self._arm()

    def _arm(self) -> None:
        never = timer.Itimerspec(value_s=_FAR_FUTURE_S)
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        # ECANCELED: the clock was set since the last time; the timer is armed anyway.
        with contextlib.suppress(OSError):
            libc.call("timerfd_settime", self._fd, flags, ctypes.byref(never), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _reading() -> tuple[int, int]:
    """Return how long the reading took, and the offset, both in ns."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return after - before, wall - (before + after) // 2
