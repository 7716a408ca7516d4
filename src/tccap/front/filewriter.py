"""Writes the engine's stream into the user's file, in a process of its own.

For anybody but root the engine writes only into pipes, so this process, with the
user's rights, is at the other end. It reads until the engine has closed the stream:
even if the front is killed, the engine ends in order, and the file is complete.

It writes whole blocks, so the file is valid pcapng whenever it ends.
"""

import contextlib
import json
import os
import select
import signal
import stat
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from tccap.errors import TccapError
from tccap.front import signals
from tccap.stream.wholeblocks import WholeBlocks

STDOUT_FD = 1
# Packets and TLS secrets are for the user alone, as dumpcap's files are.
_MODE = 0o600
_READ_LEN = 1 << 18
# How long a reader that stalls may take for the rest, once the engine has ended.
REST_S = 20
_STOP = b"stop\n"


class Written(NamedTuple):
    """What became of the stream: the packets in the file, and why it is not whole."""

    packets: int
    error: str


def open_file(path: str) -> int:
    """Open a file as the user; ``-`` is stdout. What is in it stays until packets come.

    TccapError if it cannot be written, or is a terminal.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        fd = STDOUT_FD if path == "-" else os.open(path, flags, _MODE)
        is_terminal = os.isatty(fd)
    except OSError as error:
        raise TccapError(f"{path} cannot be written: {error.strerror}.") from None
    if is_terminal:
        raise TccapError(
            "Packets are not written to a terminal: name a file after -w, or lead "
            "stdout into a file or another program."
        )
    return fd


class FileWriter:
    """The process that writes; ``stream_fd`` is where the engine writes to.

    ``notes_fd`` is readable once the capture should stop: the last packet that was
    asked for is written, or no more can be.
    """

    def __init__(self, file_fd: int, packets_max: int | None, path: str) -> None:
        read_fd, self.stream_fd = os.pipe2(os.O_CLOEXEC)
        self.notes_fd, notes_fd = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.stream_fd)
            os.close(self.notes_fd)
            sink = _Sink(file_fd, path, truncates=path != "-")
            _run(_Writer(read_fd, notes_fd, sink, WholeBlocks(packets_max)))
        for fd in (read_fd, notes_fd, file_fd):
            os.close(fd)

    def result(self) -> Written:
        """Wait until all is written, which begins with closing ``stream_fd``.

        TccapError if the process was ended, or waits for a reader that stalls.
        """
        notes = self._notes()
        os.waitpid(self._pid, 0)
        if not notes:
            raise TccapError(
                "The process that writes the packets was ended: the last ones are "
                "missing."
            )
        return Written(**json.loads(notes))

    def _notes(self) -> bytes:
        poller, notes = select.poll(), b""
        poller.register(self.notes_fd, select.POLLIN)
        while poller.poll(REST_S * 1000):
            text = os.read(self.notes_fd, _READ_LEN)
            if not text:
                return notes.removeprefix(_STOP)
            notes += text
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        raise TccapError(
            f"The reader did not take the packets for {REST_S} s after the end: the "
            "last ones are missing."
        )


class _NoMoreError(Exception):
    """Nothing more can be written; the text says why, if the user should know."""


class _Sink:
    """Writes into a file or a pipe; what it has written stays whole."""

    def __init__(self, fd: int, path: str, *, truncates: bool) -> None:
        self._path = path
        self._truncates = truncates
        self.fd = fd
        self.is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    def write(self, text: bytes) -> None:
        """Write all of a text, or, into a file, nothing; _NoMoreError says why."""
        if self._truncates and self.is_file:
            os.ftruncate(self.fd, 0)
        self._truncates = False
        whole_len = os.fstat(self.fd).st_size if self.is_file else 0
        try:
            self._write(memoryview(text))
        except BrokenPipeError:
            raise _NoMoreError from None
        except OSError as error:
            if self.is_file:
                os.ftruncate(self.fd, whole_len)
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the file, which may report an error of before."""
        try:
            os.close(self.fd)
        except OSError as error:
            raise self._failed(error) from None

    def _write(self, text: memoryview) -> None:
        while text:
            try:
                text = text[os.write(self.fd, text) :]
            except BlockingIOError:  # of a pipe that others made so
                select.select([], [self.fd], [])

    def _failed(self, error: OSError) -> _NoMoreError:
        return _NoMoreError(
            f"{self._path} cannot be written any more, so the capture ended: "
            f"{error.strerror}."
        )


class _Writer:
    """The work of the process."""

    def __init__(
        self, stream_fd: int, notes_fd: int, sink: _Sink, blocks: WholeBlocks
    ) -> None:
        self._stream_fd = stream_fd
        self._notes_fd = notes_fd
        self._sink = sink
        self._blocks = blocks
        self._has_noted = False
        self._written = Written(0, "")
        self._is_writing = True

    def run(self) -> None:
        """Write until the stream ends; then note what was written."""
        while text := self._next():
            self._take(text)
        if self._is_writing:
            self._try(self._sink.close)
        self._note(json.dumps(self._written._asdict()).encode())

    def _next(self) -> bytes:
        """Return more of the stream, empty at its end; notice a reader that goes."""
        poller = select.poll()
        poller.register(self._stream_fd, select.POLLIN)
        if self._is_writing and not self._sink.is_file:
            poller.register(self._sink.fd, 0)  # which reports its end all the same
        if self._stream_fd not in dict(poller.poll()):
            self._give_up("")
        return os.read(self._stream_fd, _READ_LEN)

    def _take(self, text: bytes) -> None:
        """Write what is whole; what cannot be written is read all the same.

        So the engine can end in order and report its counts.
        """
        if not self._is_writing:
            return
        self._try(lambda: self._sink.write(self._blocks.take(text)))
        if self._is_writing:
            self._written = Written(self._blocks.packets, "")
            if self._blocks.is_full:
                self._ask_for_stop()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (_NoMoreError, TccapError) as error:
            self._give_up(str(error))

    def _give_up(self, error: str) -> None:
        self._is_writing = False
        self._written = self._written._replace(error=error)
        self._ask_for_stop()

    def _ask_for_stop(self) -> None:
        if not self._has_noted:
            self._has_noted = True
            self._note(_STOP)

    def _note(self, text: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the front was killed
            os.write(self._notes_fd, text)


def _run(writer: _Writer) -> NoReturn:
    """Be the process, which the end of the stream ends and no signal."""
    try:
        os.setpgid(0, 0)  # so that a Ctrl-C does not reach it
        for number in signals.STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        writer.run()
    finally:
        os._exit(0)
