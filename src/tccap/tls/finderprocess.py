"""The finder's process, as seen from the one that has files to inspect.

It is a fork server (finder/forkserver.py): it is started once, and each run is a child
of its own.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from typing import NamedTuple, Self

from tccap.paths import SCRIPT, engine_python

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would only cost memory
}
_ENDED = struct.Struct("=iQQ")  # finder.forkserver.ENDED
_BLOCK_LEN = 1 << 20
_EXIT_S = 1.0  # for a server that has no more to do


class Run(NamedTuple):
    """What became of one run; ``status`` is as subprocess has it."""

    status: int
    answer: bytes
    cpu_s: float = 0.0
    memory_kib: int = 0  # the peak, which begins with what the fork server has


class FinderProcess:
    """The fork server, which the first run starts; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._is_closed = False

    def start(self) -> None:
        """Start it, so that the first run need not wait for that; may be repeated.

        OSError if it cannot be started.
        """
        with self._lock:
            self._started()

    def run(self, file_fd: int, timeout_s: float, answer_len_max: int) -> Run:
        """Run the finder on an open file.

        It is killed after the timeout, or when the answer is longer than
        ``answer_len_max``. OSError if it cannot be started.
        """
        deadline = time.monotonic() + timeout_s
        with _Pipe() as answer, _Pipe() as ended:
            with self._lock:
                server = self._send(file_fd, answer.writer, ended.writer)
            answer.close_writer()
            ended.close_writer()
            text = answer.read(answer_len_max + 1, deadline)
            if len(text) > answer_len_max:
                return Run(-signal.SIGKILL, text)
            report = ended.read(_ENDED.size, deadline)
        if len(report) < _ENDED.size:
            return Run(_status_without_report(server, deadline), text)
        status, cpu_us, memory_kib = _ENDED.unpack(report)
        return Run(status, text, cpu_us / 1e6, memory_kib)

    def close(self) -> None:
        """End it, and all runs; there can be no more."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _send(self, *fds: int) -> "subprocess.Popen[bytes]":
        """Send a request; return the process that has it."""
        try:
            server, requests = self._started()
            socket.send_fds(requests, [b"\0"], fds)
        except (BrokenPipeError, ConnectionResetError):  # it has ended meanwhile
            self._end()
            server, requests = self._started()
            socket.send_fds(requests, [b"\0"], fds)
        return server

    def _started(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        if self._is_closed:
            raise OSError(None, "the capture has ended")
        if self._server and self._requests and self._server.poll() is None:
            return self._server, self._requests
        self._end()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._requests = ours
            self._server = subprocess.Popen(
                [engine_python(), "-I", SCRIPT, "finder"],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
            )
        return self._server, ours

    def _end(self) -> None:
        if self._requests:
            self._requests.close()  # the server ends at that, and kills its children
        if self._server:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(_EXIT_S)
            self._server.kill()
            self._server.wait()
        self._requests = self._server = None


class _Pipe:
    """A pipe whose ends are closed at the end of a block."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        self.close_writer()

    def close_writer(self) -> None:
        """Close the end that is to be read to its end; may be repeated."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def read(self, size: int, deadline: float) -> bytes:
        """Return what comes up to the end, the deadline or a size, or just beyond."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        content = b""
        while len(content) < size and poller.poll(1000 * _left_s(deadline)):
            block = os.read(self._reader, _BLOCK_LEN)
            if not block:
                break
            content += block
        return content


def _status_without_report(server: "subprocess.Popen[bytes]", deadline: float) -> int:
    """Return a status for a run that took too long, or whose server has ended."""
    if _left_s(deadline) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return server.wait(_EXIT_S) or -signal.SIGKILL
    return -signal.SIGKILL


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
