"""Files that wait to be examined, and the threads that examine them, two at a time.

Files of processes whose connections wait come first; among these, and among the others,
those of the user whose files have taken least time. A content waits once, however many
processes map it.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tccap.ipc.values import Level
from tccap.tls.knownfiles import Content
from tccap.tls.spending import Spending

AT_ONCE = 2  # each is a process with up to a few hundred MiB
WAITING_MAX = 256  # of one user, each an open file


@dataclass
class File:
    """An open file to examine, and the user whose process has it mapped, or root."""

    fd: int
    path: str
    content: Content
    user: int
    refusal_level: Level
    is_urgent: bool = False
    may_be_learned: bool = False


class Examinations:
    """The files and the threads; ``examine`` is called in these, and must not raise.

    ``on_done`` is called after each file. After `close` no file is begun; the threads
    end with the process at the latest.
    """

    def __init__(
        self,
        examine: Callable[[File], None],
        spending: Spending,
        on_done: Callable[[], None],
    ) -> None:
        self._examine = examine
        self._spending = spending
        self._on_done = on_done
        self._changed = threading.Condition()
        self._waiting: dict[Content, File] = {}  # in the order in which they came
        self._running: set[Content] = set()
        self._done: list[Content] = []
        self._is_closed = False
        for number in range(AT_ONCE):
            name = f"examination {number}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def add(self, file: File) -> None:
        """Have a file examined, and close its descriptor then.

        It is closed at once if the same content waits already, if too many files of its
        user do, or after the end.
        """
        with self._changed:
            known = self._waiting.get(file.content)
            if known:
                known.is_urgent = known.is_urgent or file.is_urgent
            is_new = not known and file.content not in self._running
            if is_new and not self._is_closed and self._has_room_for(file.user):
                self._waiting[file.content] = file
                self._changed.notify()
                return
        os.close(file.fd)

    def pending(self, contents: set[Content]) -> set[Content]:
        """Return those of the contents that wait, or are being examined."""
        with self._changed:
            return contents & (self._waiting.keys() | self._running)

    def take_done(self) -> list[Content]:
        """Return the contents that were examined since the last call."""
        with self._changed:
            done, self._done = self._done, []
            return done

    @property
    def unfinished(self) -> set[Content]:
        """The contents that wait, or are being examined."""
        with self._changed:
            return self._waiting.keys() | self._running

    @property
    def has_room(self) -> bool:
        """Whether a thread has, or soon has, nothing to do: for files in no hurry."""
        with self._changed:
            return len(self._waiting) < AT_ONCE

    def close(self) -> None:
        """Examine no further files."""
        with self._changed:
            self._is_closed = True
            for file in self._waiting.values():
                os.close(file.fd)
            self._waiting.clear()
            self._changed.notify_all()

    def _has_room_for(self, user: int) -> bool:
        return sum(f.user == user for f in self._waiting.values()) < WAITING_MAX

    def _work(self) -> None:
        while file := self._next():
            try:
                with self._spending.charged(file.user):
                    self._examine(file)
            finally:
                os.close(file.fd)
                with self._changed:
                    self._running.discard(file.content)
                    self._done.append(file.content)
                self._on_done()

    def _next(self) -> File | None:
        """Return the file to examine; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            file = min(self._waiting.values(), key=self._rank)
            del self._waiting[file.content]
            self._running.add(file.content)
            return file

    def _rank(self, file: File) -> tuple[bool, float]:
        return not file.is_urgent, self._spending.of(file.user)
