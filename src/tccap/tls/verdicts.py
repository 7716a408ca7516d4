"""Which processes may give secrets: asked by the packets' loop, answered by a thread.

The loop must not read /proc, where a process can have as much to read as it likes. So
it asks, and goes on; the tracing thread looks at the process and answers. Meanwhile the
connection's packets wait, as if the process gave secrets.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tccap.tls.handles import LISTED

# Until a process that speaks TLS is looked at again: it may have loaded a library.
LOOK_VALID_S = 0.5
ASKED_MAX = 4096


# Device and inode of a program's file; None: the process has ended.
Program = tuple[int, int] | None


class Answer(NamedTuple):
    """About a process that the loop has asked for."""

    pid: int
    may_give: bool
    program: Program = None


class Verdicts:
    """What is known of processes, by pid; for any thread.

    ``on_news`` is called when there is something to take.
    """

    def __init__(self, on_news: Callable[[], None] = lambda: None) -> None:
        self._on_news = on_news
        self._lock = threading.Lock()
        self._wakeup_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller = select.poll()
        self._poller.register(self._wakeup_fd, select.POLLIN)
        self._is_closed = False
        self._giving: set[int] = set()
        self._not_giving: dict[int, float] = {}  # since when
        self._looked_at: dict[int, float] = {}
        self._handles_at: dict[int, frozenset[int]] = {}
        self._changed_handles: set[int] = set()
        self._asked: set[int] = set()
        self._answers: list[Answer] = []
        self._silent: dict[int, float] = {}  # since when

    def may_give(self, pid: int) -> bool | None:
        """Return whether a process may give secrets; None: there will be an answer.

        There may be one in any case.
        """
        now = time.monotonic()
        with self._lock:
            since = self._not_giving.get(pid, -LOOK_VALID_S)
            if self._is_closed or now - since < LOOK_VALID_S:
                return False
            gives = True if pid in self._giving else None
            is_new = now - self._looked_at.get(pid, -LOOK_VALID_S) >= LOOK_VALID_S
            if len(self._asked) == ASKED_MAX or (gives and not is_new):
                return True
            self._asked.add(pid)
        self.wake()
        return gives

    def got_no_secrets(self, pid: int, waited_s: float) -> None:
        """Record that a connection of a process has waited for nothing."""
        with self._lock:
            if self._is_closed or len(self._silent) == ASKED_MAX:
                return
            self._silent[pid] = time.monotonic() - waited_s
        self.wake()

    def take_handles(self) -> dict[int, frozenset[int]]:
        """Return the offsets of handles that have changed since the last call."""
        with self._lock:
            changed, self._changed_handles = self._changed_handles, set()
            return {pid: self._handles_at.get(pid, frozenset()) for pid in changed}

    def take_answers(self) -> list[Answer]:
        """Return the answers since the last call."""
        with self._lock:
            answers, self._answers = self._answers, []
            return answers

    # For the thread.

    def wait(self, timeout_s: float) -> None:
        """Return when there is a question, or after the timeout."""
        self._poller.poll(max(0.0, 1000 * timeout_s))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakeup_fd)

    def wait_for(self, fd: int) -> None:
        """Have `wait` end when this descriptor is readable, too."""
        self._poller.register(fd, select.POLLIN)

    def wake(self) -> None:
        """End `wait`."""
        os.eventfd_write(self._wakeup_fd, 1)

    def take_asked(self) -> set[int]:
        """Return the processes that the loop has asked for since the last call."""
        with self._lock:
            asked, self._asked = self._asked, set()
            return asked

    def take_silent(self) -> dict[int, float]:
        """Return processes whose connections got no secrets, and since when."""
        with self._lock:
            silent, self._silent = self._silent, {}
            return silent

    def record(self, pid: int, gives: bool, handles_at: frozenset[int]) -> None:
        """Record what a look at a process has found."""
        with self._lock:
            (self._giving.add if gives else self._giving.discard)(pid)
            self._looked_at[pid] = time.monotonic()
            self._set_handles(pid, handles_at)

    def record_listed(self, handles_at: frozenset[int]) -> None:
        """Record what the listed libraries say about handles."""
        with self._lock:
            self._set_handles(LISTED, handles_at)

    def answer(self, pid: int, may_give: bool, program: Program) -> None:
        """Answer the loop."""
        with self._lock:
            self._answers.append(Answer(pid, may_give, program))
            if not may_give:
                self._not_giving[pid] = time.monotonic()
        self._on_news()

    def keep(self, pids: Iterable[int]) -> None:
        """Forget all other processes: they have ended."""
        with self._lock:
            running = set(pids)
            self._giving &= running
            for since in (self._not_giving, self._looked_at):
                for pid in since.keys() - running:
                    del since[pid]
            for pid in self._handles_at.keys() - running - {LISTED}:
                self._set_handles(pid, frozenset())

    def close(self) -> None:
        """From now on no process gives secrets."""
        with self._lock:
            self._is_closed = True
            self._answers += [Answer(pid, may_give=False) for pid in self._asked]
        self._on_news()

    def _set_handles(self, pid: int, handles_at: frozenset[int]) -> None:
        if handles_at == self._handles_at.get(pid, frozenset()):
            return
        self._changed_handles.add(pid)
        self._handles_at.pop(pid, None)
        if handles_at:
            self._handles_at[pid] = handles_at
        self._on_news()
