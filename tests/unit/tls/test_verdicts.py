"""What the packets' loop is told of a process, and when that is looked at again."""

import time

import pytest

from tccap.tls.verdicts import LOOK_VALID_S, Answer, Verdicts

PID = 7


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.mark.usefixtures("clock")
def test_an_unknown_process_is_looked_at(verdicts: Verdicts) -> None:
    assert verdicts.may_give(PID) is None
    assert verdicts.take_asked() == {PID}
    assert verdicts.take_asked() == set()


def test_a_process_that_gives_secrets_is_looked_at_again_later(
    verdicts: Verdicts, clock: list[float]
) -> None:
    """It may have loaded another library since, as a Python wheel."""
    verdicts.record(PID, gives=True, handles_at=frozenset())
    assert verdicts.may_give(PID) is True
    assert verdicts.take_asked() == set()
    clock[0] += LOOK_VALID_S
    assert verdicts.may_give(PID) is True
    assert verdicts.take_asked() == {PID}
    verdicts.record(PID, gives=True, handles_at=frozenset())
    assert verdicts.may_give(PID) is True
    assert verdicts.take_asked() == set()


def test_one_that_gives_none_is_looked_at_again_later(
    verdicts: Verdicts, clock: list[float]
) -> None:
    verdicts.record(PID, gives=False, handles_at=frozenset())
    verdicts.answer(PID, may_give=False, program=None)
    assert verdicts.take_answers() == [Answer(PID, may_give=False)]
    assert verdicts.may_give(PID) is False
    clock[0] += LOOK_VALID_S
    assert verdicts.may_give(PID) is None
    assert verdicts.take_asked() == {PID}


@pytest.mark.usefixtures("clock")
def test_processes_that_have_ended_are_forgotten(verdicts: Verdicts) -> None:
    for gives in (True, False):
        verdicts.record(PID, gives=gives, handles_at=frozenset())
    verdicts.answer(PID, may_give=False, program=None)
    verdicts.keep(())
    assert verdicts.may_give(PID) is None
    assert not verdicts._looked_at
