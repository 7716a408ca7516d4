"""Processes whose files are examined: each is recorded when its last one is done."""

import pytest

from tccap.tls import unsettled
from tccap.tls.knownfiles import Content
from tccap.tls.processscan import Look
from tccap.tls.unsettled import Unsettled

A, B = (Content(1, inode, 0, 0) for inode in (1, 2))


def _look(pid: int) -> Look:
    return Look(pid, (), 0)


def test_a_process_waits_for_all_its_files() -> None:
    waiting = Unsettled()
    assert waiting.add(_look(1), {A, B})
    assert waiting.add(_look(2), {B})
    assert [*waiting.take_settled([A])] == []
    assert {look.pid for look in waiting.take_settled([B])} == {1, 2}
    assert [*waiting.take_settled([A, B])] == []


def test_one_without_files_to_wait_for_does_not_wait() -> None:
    waiting = Unsettled()
    assert waiting.add(_look(1), {A})
    assert not waiting.add(_look(1), set())
    assert [*waiting.take_settled([A])] == []


def test_the_last_look_counts() -> None:
    waiting = Unsettled()
    waiting.add(_look(1), {A})
    waiting.add(_look(1), {A, B})
    assert [*waiting.take_settled([A])] == []
    assert [look.pid for look in waiting.take_settled([B])] == [1]


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsettled, "PROCESSES_MAX", 1)
    waiting = Unsettled()
    assert waiting.add(_look(1), {A})
    assert not waiting.add(_look(2), {A})
    assert waiting.add(_look(1), {A})
