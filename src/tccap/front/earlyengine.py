"""The engine of a capture, started before it is known what to capture.

Engine and front each take some 50 ms to import what they need, so they do it side by
side. An engine that gets no Plan ends without having captured anything.
"""

import contextlib
import os
import subprocess

from tccap.errors import TccapError
from tccap.front import launcher, signals


class EarlyEngine:
    """An engine that waits for its Plan; it writes the stream to ``fifo``.

    TccapError if there is no such file. The file stays open here, too, until the engine
    is taken: when its last writer ends, tshark does not wait for an error message.
    """

    def __init__(self, fifo: str | None) -> None:
        signals.on_stop(signals.exit_at_once)
        # Before anything can fail: Wireshark 4.0 waits forever for a writer.
        self._stream_fd = _open_stream(fifo)
        self._started: subprocess.Popen[bytes] | TccapError
        try:
            self._started = launcher.start(self._stream_fd)
        except TccapError as error:  # for the log, when that is open
            self._started = error

    def process(self) -> "subprocess.Popen[bytes]":
        """Return the engine; TccapError if this user may not capture."""
        if isinstance(self._started, TccapError):
            raise self._started
        os.close(self._stream_fd)
        return self._started

    def give_up(self) -> None:
        """Have the engine end without a capture, and wait for that."""
        if not isinstance(self._started, TccapError):
            with contextlib.suppress(OSError):
                self._started.communicate(b"")


def _open_stream(path: str | None) -> int:
    if not path:
        raise TccapError("--capture wants --fifo: Wireshark gives it.")
    try:
        return os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError as error:
        raise TccapError(f"{path} cannot be written: {error.strerror}.") from None
