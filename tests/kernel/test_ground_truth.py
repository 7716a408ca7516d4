"""Processes found by polling, where there are no kprobes: few, but never wrong.

With kprobes tests/vm/guest/test_ground_truth.py asks for more.
"""

import os
from pathlib import Path

import pytest

from tccap import facilities
from truth import theatre

MANY = int(os.environ.get("TCCAP_TRUTH_MANY", theatre.MANY_BY_DEFAULT))


@pytest.mark.skipif(facilities.has_kprobes(), reason="there are kprobes")
@pytest.mark.timeout(1800)
def test_no_label_is_wrong(tmp_path: Path) -> None:
    performance = theatre.perform(tmp_path, MANY)
    report = performance.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # what it is for
    assert not performance.problems
    assert report.counts
    assert not report.cases_with("wrong")
