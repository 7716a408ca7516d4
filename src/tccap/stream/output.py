"""The stream to Wireshark: a FIFO or a file, written without blocking.

So a reader that stalls cannot keep the engine from noticing a request to stop.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable

Buffer = bytes | memoryview

# A larger pipe means fewer context switches between us and the reader.
PIPE_LEN = 1 << 20


class ReaderGoneError(Exception):
    """The reader has closed the stream: a normal end."""


class Output:
    """Writes buffers to ``fd``, in order, and keeps those that do not fit yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self._waiting: list[Buffer] = []
        self._written = 0  # bytes of the first one that are written already
        os.set_blocking(fd, False)
        if self.is_pipe:
            with contextlib.suppress(OSError):  # above fs.pipe-max-size
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_LEN)

    def send(self, buffers: Iterable[Buffer]) -> bool:
        """Write buffers behind those that still wait; see `flush`."""
        self._waiting.extend(buffer for buffer in buffers if buffer)
        return self.flush()

    def flush(self) -> bool:
        """Write what waits; return whether all of it is written.

        ReaderGoneError if the other end is closed, OSError if a file cannot be written.
        """
        while self._waiting:
            buffers = self._waiting[:1024]
            buffers[0] = memoryview(buffers[0])[self._written :]
            try:
                written = os.writev(self.fd, buffers)
            except BlockingIOError:
                return False
            except BrokenPipeError:
                raise ReaderGoneError from None
            self._advance(self._written + written)
        return True

    @property
    def unwritten(self) -> tuple[int, tuple[Buffer, ...]]:
        """The buffers that wait, and how many bytes of the first one are written."""
        return self._written, tuple(self._waiting)

    def _advance(self, written: int) -> None:
        """Drop the first ``written`` bytes."""
        for number, buffer in enumerate(self._waiting):
            if written < len(buffer):
                self._waiting = self._waiting[number:]
                self._written = written
                return
            written -= len(buffer)
        self._waiting, self._written = [], 0
