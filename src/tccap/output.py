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
            try:
                written = os.writev(self.fd, self._waiting[:1024])
            except BlockingIOError:
                return False
            except BrokenPipeError:
                raise ReaderGoneError from None
            self._waiting = _rest(self._waiting, written)
        return True


def _rest(buffers: list[Buffer], written: int) -> list[Buffer]:
    """Return what is left of the buffers behind the first ``written`` bytes."""
    for number, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[number + 1 :]]
        written -= len(buffer)
    return []
