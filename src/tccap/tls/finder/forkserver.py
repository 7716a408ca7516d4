"""The process that has the finder loaded, and forks for each file.

Loading takes longer than most inspections. This process itself reads no file: its
children do, each after it has given up its rights.
"""

import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from tccap.tls.finder import confine

# How a run ended: its exit status (as subprocess has it), its processor time in
# microseconds, and its peak of memory in KiB. tccap.tls.finderprocess has the same.
ENDED = struct.Struct("=iQQ")
_REQUEST_LEN, _DESCRIPTORS = 1, 3


class _Child(NamedTuple):
    pid: int
    pidfd: int
    ended_fd: int  # where ENDED goes


class ForkServer:
    """Runs ``inspect`` for each request, in a child of its own.

    A request has three descriptors: the file, which becomes the child's stdin; the pipe
    for its answer, which becomes its stdout; and the pipe for ENDED. If nobody reads
    that any more, the child is killed. ``inspect`` returns the exit status.
    """

    def __init__(self, requests: socket.socket, inspect: Callable[[], int]) -> None:
        self._requests = requests
        self._inspect = inspect
        self._children: dict[int, _Child] = {}  # by each of their descriptors
        self._poller = select.poll()
        self._poller.register(requests, select.POLLIN)

    def run(self) -> None:
        """Serve until the other end is closed, and then kill what still runs."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        goes_on = True
        while goes_on:
            # One at a time: what is closed for one may be the number of another.
            fd = self._poller.poll()[0][0]
            child = self._children.get(fd)
            if child is None:
                goes_on = self._take()
            elif fd == child.pidfd:
                self._reap(child)
            else:
                self._kill(child)
        for child in {*self._children.values()}:
            os.kill(child.pid, signal.SIGKILL)

    def _take(self) -> bool:
        """Take a request; return False if there will be no more."""
        message, fds, _, _ = socket.recv_fds(self._requests, _REQUEST_LEN, _DESCRIPTORS)
        if len(fds) == _DESCRIPTORS:
            self._start(*fds)
            fds.pop()  # it is needed until the child has ended
        for fd in fds:
            os.close(fd)
        return bool(message)

    def _start(self, file_fd: int, answer_fd: int, ended_fd: int) -> None:
        pid = os.fork()
        if pid == 0:
            _become_finder(self._inspect, file_fd, answer_fd)
        child = _Child(pid, os.pidfd_open(pid), ended_fd)
        self._children[child.pidfd] = self._children[ended_fd] = child
        self._poller.register(child.pidfd, select.POLLIN)
        self._poller.register(ended_fd, 0)  # POLLERR: its reader is gone

    def _reap(self, child: _Child) -> None:
        _, status, usage = os.wait4(child.pid, 0)
        cpu_us = int(1e6 * (usage.ru_utime + usage.ru_stime))
        code = os.waitstatus_to_exitcode(status)
        if child.ended_fd in self._children:
            with contextlib.suppress(BrokenPipeError):
                os.write(child.ended_fd, ENDED.pack(code, cpu_us, usage.ru_maxrss))
            self._forget(child.ended_fd)
        self._forget(child.pidfd)

    def _kill(self, child: _Child) -> None:
        self._forget(child.ended_fd)
        os.kill(child.pid, signal.SIGKILL)  # it is not reaped, so it is still this one

    def _forget(self, fd: int) -> None:
        self._poller.unregister(fd)
        del self._children[fd]
        os.close(fd)


def _become_finder(
    inspect: Callable[[], int], file_fd: int, answer_fd: int
) -> NoReturn:
    """Inspect in this process, which has nothing open but the file and the answer."""
    status = 1
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(file_fd, 0)
        os.dup2(answer_fd, 1)
        confine.close_others()
        status = inspect()
    finally:
        os._exit(status)
