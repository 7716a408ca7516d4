"""The signals that end a capture."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READ_LEN = 1 << 12


def wakeup() -> int:
    """Return a descriptor that is readable when a signal has come that is handled.

    A handler in Python runs only between two instructions, so a signal that
    arrives just before poll(2) would wait for the next event; this wakes poll up.
    """
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def is_stop(wakeup_fd: int) -> bool:
    """Return whether a stop signal is among those that have come since."""
    return not set(STOP_SIGNALS).isdisjoint(os.read(wakeup_fd, _READ_LEN))


def on_stop(handler: Callable[..., object]) -> None:
    """Call a handler at a stop signal.

    SIGINT and SIGHUP stay ignored if we were started so: then a capture goes on
    under nohup(1), or as a background job, whatever happens to the terminal.
    """
    for number in STOP_SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def exit_at_once(*_: object) -> NoReturn:
    """End at once, without a traceback: nothing is running yet that needs an end."""
    os._exit(0)
