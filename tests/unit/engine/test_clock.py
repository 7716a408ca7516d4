import select
import time

import pytest

from tccap.engine import clock


def test_offset_makes_the_wall_clock_of_the_boot_clock() -> None:
    offset_ns = clock.wall_offset_ns()
    before_ns = time.time_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after_ns = time.time_ns()
    slack_ns = 1_000_000
    assert before_ns - slack_ns < boot_ns + offset_ns < after_ns + slack_ns


def test_the_closest_reading_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(900, 5), (30, 7), (200, 6), (31, 8), (10_000, 1)])
    monkeypatch.setattr(clock, "_reading", lambda: next(readings))
    assert clock.wall_offset_ns() == 7


def test_the_alarm_is_quiet_while_nobody_sets_the_clock() -> None:
    with clock.SetAlarm() as alarm:
        assert select.select([alarm], [], [], 0)[0] == []
        alarm.clear()
        assert select.select([alarm], [], [], 0)[0] == []
