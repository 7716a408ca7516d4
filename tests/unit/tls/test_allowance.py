"""A thread may use some processor time at once, and in the long run its share."""

import time

import pytest

from tccap.tls.allowance import BURST_S, Allowance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
def test_a_burst_takes_no_pause() -> None:
    allowance = Allowance(0.2)
    assert allowance.pause_s(BURST_S / 2) == 0
    assert allowance.pause_s(BURST_S / 2) == 0
    assert allowance.pause_s(0.01) == pytest.approx(0.05)


def test_in_the_long_run_it_is_the_share(clock: list[float]) -> None:
    allowance = Allowance(0.2)
    used_s = 0.0
    for _ in range(1000):
        used_s += 0.01
        clock[0] += 0.01 + allowance.pause_s(0.01)
    assert used_s / clock[0] < 0.25


def test_what_was_not_used_is_not_kept(clock: list[float]) -> None:
    allowance = Allowance(0.2)
    clock[0] = 1000.0
    assert allowance.pause_s(BURST_S + 0.1) == pytest.approx(0.5)
