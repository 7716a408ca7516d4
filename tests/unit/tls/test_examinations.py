"""Two files at a time, those of waiting connections first, and nobody's files alone."""

import os
import threading
from collections.abc import Iterator

import pytest

from support.running import DEADLINE_S, until
from tccap.tls import examinations
from tccap.tls.examinations import AT_ONCE, WAITING_MAX, Examinations, File
from tccap.tls.knownfiles import Content
from tccap.tls.spending import Spending


class Held:
    """Examinations that take until they are let go; records their order."""

    def __init__(self) -> None:
        self.spending = Spending()
        self.begun: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._let = threading.Semaphore(0)
        self.examinations = Examinations(self._examine, self.spending, lambda: None)

    def _examine(self, file: File) -> None:
        with self._lock:
            self.begun.append(file.path)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        assert self._let.acquire(timeout=DEADLINE_S)
        with self._lock:
            self._at_once -= 1

    def add(self, path: str, user: int = 0, *, is_urgent: bool = False) -> int:
        """Add a file; return its descriptor."""
        fd = os.open(os.devnull, os.O_RDONLY)
        content = Content(0, hash(path), 0, 0)
        self.examinations.add(File(fd, path, content, user, "info", is_urgent))
        return fd

    def begin(self) -> None:
        """Let both threads be busy."""
        for number in range(AT_ONCE):
            self.add(f"first{number}")
        until(lambda: len(self.begun) == AT_ONCE, "busy threads")

    def let_go(self, count: int = 1) -> None:
        """Let so many examinations end, one after the other."""
        for _ in range(count):
            before = len(self.begun)
            self._let.release()
            until(lambda n=before: len(self.begun) > n or self._is_last(), "the next")

    def _is_last(self) -> bool:
        with self.examinations._changed:
            return not self.examinations._waiting


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.examinations.close()
    made._let.release(1000)


def test_two_are_examined_at_a_time(held: Held) -> None:
    held.begin()
    for number in range(4):
        held.add(f"file{number}")
    held.let_go(6)
    until(lambda: not held.examinations.unfinished, "the end")
    assert len(held.begun) == 6
    assert held.most_at_once == AT_ONCE


def test_files_of_connections_that_wait_come_first(held: Held) -> None:
    held.begin()
    held.add("scanned")
    held.add("promoted")
    held.add("urgent", is_urgent=True)
    held.add("promoted", is_urgent=True)  # a second process, which speaks TLS
    held.let_go(3)
    assert held.begun[AT_ONCE:] == ["promoted", "urgent", "scanned"]


def test_the_user_whose_files_took_least_comes_first(held: Held) -> None:
    held.begin()
    with held.spending.charged(1):
        until(lambda: True, "some time")
    for name in ("a", "b"):
        held.add(f"much {name}", user=1, is_urgent=True)
    held.add("little", user=2, is_urgent=True)
    held.let_go()
    assert held.begun[AT_ONCE] == "little"


def test_a_content_is_examined_once_at_a_time(held: Held) -> None:
    held.begin()
    held.add("file")
    for again in (held.add("file"), held.add("first0")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(again)
    held.let_go(3)
    until(lambda: not held.examinations.unfinished, "the end")
    assert held.begun.count("file") == held.begun.count("first0") == 1


def test_one_user_has_only_so_many_files_open(held: Held) -> None:
    held.begin()
    fds = [held.add(f"mine{number}", user=7) for number in range(WAITING_MAX + 1)]
    os.fstat(fds[-2])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[-1])
    os.fstat(held.add("another's", user=8))


def test_what_is_done_is_no_longer_pending(held: Held) -> None:
    held.begin()
    [first, *_] = [Content(0, hash(f"first{number}"), 0, 0) for number in range(2)]
    other = Content(0, hash("other"), 0, 0)
    assert held.examinations.pending({first, other}) == {first}
    held.let_go(AT_ONCE)
    until(lambda: not held.examinations.unfinished, "the end")
    assert held.examinations.pending({first, other}) == set()
    assert first in held.examinations.take_done()
    assert held.examinations.take_done() == []


def test_files_in_no_hurry_wait_elsewhere(held: Held) -> None:
    """So that there are few open files, and the order can change."""
    assert held.examinations.has_room
    held.begin()
    assert held.examinations.has_room
    for number in range(AT_ONCE):
        held.add(f"file{number}")
    assert not held.examinations.has_room


def test_nothing_is_begun_after_the_end(held: Held) -> None:
    held.begin()
    waiting = held.add("waiting")
    held.examinations.close()
    late = held.add("late")
    for fd in (waiting, late):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    held._let.release(AT_ONCE)
    until(lambda: not held.examinations.unfinished, "the end")
    assert len(held.begun) == AT_ONCE


def test_there_are_two_threads() -> None:
    assert examinations.AT_ONCE == 2
