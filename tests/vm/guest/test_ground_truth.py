"""Every packet names its process: real processes, whose packets are known."""

import os
from collections import Counter
from pathlib import Path

import pytest

from truth import run
from truth.missing import MAY_MISS
from truth.run import Run

MANY = int(os.environ.get("TCCAP_TRUTH_MANY", run.MANY_BY_DEFAULT))
# On a busy host, softirqs of an emulated machine take long, and a few labels are
# missing: never more than this share. make ground-truth KERNEL= allows none.
STRAY_MAX = 0.0 if "TCCAP_TRUTH_MANY" in os.environ else 0.01
CASES = tuple(os.environ.get("TCCAP_TRUTH_CASES", "").split())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("truth")
    return run.run_cases(folder, MANY, CASES)


def test_all_cases_ran(done: Run) -> None:
    for case, problem in done.problems.items():
        print(f"{case}: {problem}")  # noqa: T201  # the reason to be seen
    assert not done.problems


@pytest.mark.timeout(1800)
def test_labels(done: Run) -> None:
    report = done.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # the table to be seen
    print(*report.reasons(MAY_MISS), sep="\n")  # noqa: T201
    assert report.counts
    assert not report.cases_with("wrong")
    assert report.share("missing", without=MAY_MISS) <= STRAY_MAX


def test_a_chosen_process_is_complete_and_alone(done: Run) -> None:
    chosen = {str(pid) for pid in done.chosen()}
    due = Counter(
        packet.data
        for packet in done.packets
        if {packet.label.get("pid"), packet.label.get("peer_pid")} & chosen
    )
    assert due
    assert Counter(packet.data for packet in done.chosen_packets) == due
