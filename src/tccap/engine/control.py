"""Requests to the engine: from the front through stdin, and SIGTERM."""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterator
from typing import Self

from tccap.engine.events import Events

TEXT_LEN = 1 << 16  # what is read at once of what the front sends
# On stop: the kernel ends an engine that does not, as nobody else may.
STOP_DEADLINE_S = 15


@contextlib.contextmanager
def ending_in_time(fd: int) -> Iterator[None]:
    """Have the kernel end this process STOP_DEADLINE_S after the front closes its pipe.

    For the time before there is a `Control`, when nothing is in the kernel: compiling a
    filter may wait for name servers.
    """
    pipe = select.poll()
    pipe.register(fd, 0)  # its end only

    def look(*_: object) -> None:
        if pipe.poll(0):
            signal.alarm(STOP_DEADLINE_S)

    before = signal.signal(signal.SIGIO, look)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)  # SIGIO: open(2)
    try:
        look()
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        signal.signal(signal.SIGIO, before)


class Control:
    """Records the request to stop, and keeps text from the front until it is taken."""

    def __init__(self, fd: int, events: Events) -> None:
        self.is_stopping = False
        self._fd = fd
        self._events = events
        self._text = b""
        self._exit = contextlib.ExitStack()

    def take_text(self) -> bytes:
        """Return what the front has sent since the last call."""
        text, self._text = self._text, b""
        return text

    def stop(self) -> None:
        """Stop, within STOP_DEADLINE_S."""
        if not self.is_stopping:
            self.is_stopping = True
            signal.alarm(STOP_DEADLINE_S)

    def leave_text(self) -> None:
        """Leave what the front sends to another process; its end still means stop."""
        self._events.forget(self._fd)
        self._events.watch(self._fd, lambda _: self._on_end(), events=0)

    def take_over(self, events: Events) -> None:
        """Take only what the front sends, in a child: signals are its parent's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._events = events
        events.watch(self._fd, lambda _: self._read())
        if self.is_stopping:  # timers are not inherited
            signal.alarm(STOP_DEADLINE_S)

    def __enter__(self) -> Self:
        signal_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._exit.callback(os.close, write_fd)
        self._exit.callback(os.close, signal_fd)
        signal.set_wakeup_fd(write_fd)
        self._exit.callback(signal.set_wakeup_fd, -1)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._events.watch(signal_fd, lambda _: self.stop())
        self._events.watch(self._fd, lambda _: self._read())
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _read(self) -> None:
        text = os.read(self._fd, TEXT_LEN)
        self._text += text
        if not text:
            self._on_end()

    def _on_end(self) -> None:
        self._events.forget(self._fd)
        self.stop()
