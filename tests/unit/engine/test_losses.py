"""Counts of lost packets, while the capture runs."""

import time

import pytest

from tccap.engine.losses import REPORT_S, Losses
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Interface, Section

KEPT, LOST = Statistics(5, 5, 0, 0), Statistics(5, 5, 2, 0)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    """Losses whose time has come, unless there is nothing to count."""
    section = Section("os", "hardware")
    for _ in range(2):
        section.describe(_interface())
    made = Losses(section)
    later = time.monotonic() + REPORT_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    return made


def _interface() -> Interface:
    return Interface("eth0", "", 1, 0, b"", (), (), 0, "")


def _unread() -> list[Statistics]:
    raise AssertionError


def test_nothing_is_read_while_no_packets_come(losses: Losses) -> None:
    assert losses.timeout_s is None
    assert losses.blocks(_unread) == []


def test_only_interfaces_with_new_losses_are_written(
    losses: Losses, capfd: pytest.CaptureFixture[str]
) -> None:
    losses.packets_came()
    assert losses.timeout_s == REPORT_S
    assert len(losses.blocks(lambda: [KEPT, LOST])) == 1
    assert '"packets": 2' in capfd.readouterr().err
    assert losses.timeout_s is None


def test_counts_are_read_at_intervals(losses: Losses) -> None:
    losses.packets_came()
    losses.blocks(lambda: [KEPT])
    losses.packets_came()
    assert losses.blocks(_unread) == []
