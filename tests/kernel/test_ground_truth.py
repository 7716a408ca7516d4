"""Processes found by polling, where there are no kprobes: few, and late.

What changes between two looks (a socket handed on, a new name or user) is told
late, and the packets in between have the former label: docs/limitations.md. So
this counts; with kprobes tests/vm/guest/test_ground_truth.py asks for all.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tccap import facilities
from truth import theatre

MANY = int(os.environ.get("TCCAP_TRUTH_MANY", theatre.MANY_BY_DEFAULT))


@pytest.mark.skipif(facilities.has_kprobes(), reason="there are kprobes")
@pytest.mark.timeout(1800)
def test_labels_are_rather_right_than_wrong(tmp_path: Path) -> None:
    performance = theatre.perform(tmp_path, MANY)
    report = performance.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # what it is for
    assert not performance.problems
    total = sum((Counter(counts) for counts in report.counts.values()), Counter())
    assert total["right"] > total["wrong"]
