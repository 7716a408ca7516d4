"""The stream to Wireshark: a FIFO, or a file, that is never waited for.

Writes do not block, so that a reader that stands still cannot keep the engine
from noticing that it shall stop.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable

Buffer = bytes | memoryview

# A larger pipe means fewer changes between us and the reader.
PIPE_LEN = 1 << 20


class ReaderGoneError(Exception):
    """Nobody will read the stream any more: a normal end."""


class Output:
    """Buffers on their way into ``fd``, in order."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self._waiting: list[Buffer] = []
        self._written = 0  # bytes of the first of them
        os.set_blocking(fd, False)
        if self.is_pipe:
            with contextlib.suppress(OSError):  # above fs.pipe-max-size
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_LEN)

    def send(self, buffers: Iterable[Buffer]) -> bool:
        """Write the buffers, behind those that still wait; see `flush`."""
        self._waiting.extend(buffers)
        return self.flush()

    def flush(self) -> bool:
        """Write what waits; tell whether all of it is gone.

        ReaderGoneError when the other end is closed; OSError when a file
        cannot be written.
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
    def unwritten(self) -> tuple[Buffer, ...]:
        """What waits; of the first, some bytes may have been written."""
        return tuple(self._waiting)

    def _advance(self, written: int) -> None:
        """Forget what is in the first ``written`` bytes."""
        for number, buffer in enumerate(self._waiting):
            if written < len(buffer):
                self._waiting = self._waiting[number:]
                self._written = written
                return
            written -= len(buffer)
        self._waiting, self._written = [], 0
