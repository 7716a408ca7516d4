"""When processes are looked at that have begun to run a program."""

import math

import pytest

from tccap.tls import newprograms
from tccap.tls.newprograms import LOOKS_S, Looks

START = 1000.0


def test_a_process_is_looked_at_several_times() -> None:
    looks = Looks()
    looks.add(7, START)
    seen = []
    while looks.due < math.inf:
        seen.append(looks.due - START)
        assert [*looks.take(looks.due)] == [7]
    assert seen == pytest.approx(LOOKS_S)


def test_it_is_not_looked_at_before_it_is_time() -> None:
    looks = Looks()
    looks.add(7, START)
    assert [*looks.take(START)] == [7]
    assert [*looks.take(START + LOOKS_S[1] / 2)] == []


def test_looks_that_are_late_are_one() -> None:
    looks = Looks()
    looks.add(7, START)
    looks.add(8, START)
    assert sorted(looks.take(START + LOOKS_S[-2])) == [7, 8]
    assert sorted(looks.take(START + LOOKS_S[-1])) == [7, 8]
    looks.add(9, START)
    assert [*looks.take(START + 10)] == [9]
    assert looks.due == math.inf


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newprograms, "WAITING_MAX", 2)
    looks = Looks()
    for pid in (1, 2, 3):
        looks.add(pid, START)
    assert {*looks.take(START)} == {1, 2}
