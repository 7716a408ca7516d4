"""Work that has used its time waits until a share of all time has made up for it."""

import contextlib
import time

import pytest

from tccap.host.allowance import MOST_S, SHARE, Allowance


class Clock:
    """A clock that goes on when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", self.read)

    def read(self) -> float:
        """Return what it shows."""
        return self.now


def test_work_goes_on_when_its_share_has_made_up_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    limited = Allowance()
    with limited.used(clock.read):
        clock.now += MOST_S - 0.1
    assert limited.wait_s() == 0
    with limited.used(clock.read):
        clock.now += 1.0
    due_s = limited.wait_s()
    assert due_s == pytest.approx((1.0 - 0.1) / SHARE, rel=0.1)
    clock.now += due_s + 0.01
    assert limited.wait_s() == 0


def test_no_more_than_so_much_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limited = Allowance()
    clock.now += 1e6
    assert limited.wait_s() == 0
    with limited.used(clock.read):
        clock.now += MOST_S + 1.0
    assert limited.wait_s() > 0


def test_work_that_fails_counts() -> None:
    limited = Allowance()
    with contextlib.suppress(OSError), limited.used():
        time.sleep(0.001)
        raise OSError
    assert limited._left_s < MOST_S


def test_processor_time_counts_by_its_own_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    limited = Allowance(share=0.5, most_s=1.0)
    taken = iter((10.0, 13.0))
    with limited.used(lambda: next(taken)):
        clock.now += 1000.0
    clock.now = 1000.0  # as it was
    assert limited.wait_s() == pytest.approx((3.0 - 1.0) / 0.5)
