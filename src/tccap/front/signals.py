"""The signals that end a capture."""

import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def on_stop(handler: Callable[..., object]) -> None:
    """Call a handler at a stop signal.

    SIGINT and SIGHUP stay ignored if we were started so: then a capture goes on
    under nohup(1), or as a background job, whatever happens to the terminal.
    """
    for number in STOP_SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
