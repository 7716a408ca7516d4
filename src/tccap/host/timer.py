"""A timer with a descriptor (timerfd_create(2)), which Python has from 3.13 on."""

import contextlib
import ctypes
import os
import time

from tccap.host import libc


class Itimerspec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Becomes readable once, after the time that it was armed with last."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = libc.call("timerfd_create", time.CLOCK_MONOTONIC, flags)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def arm(self, seconds: float) -> None:
        """Be readable after so many seconds, which are more than 0."""
        whole, rest = divmod(int(seconds * 1e9), 1_000_000_000)
        value = Itimerspec(value_s=whole, value_ns=rest)
        libc.call("timerfd_settime", self._fd, 0, ctypes.byref(value), None)

    def clear(self) -> None:
        """Be no longer readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
