"""Every packet names its process: real processes, whose packets are known."""

import os
from collections import Counter
from pathlib import Path

import pytest

from truth import theatre
from truth.theatre import Performance

MANY = int(os.environ.get("TCCAP_TRUTH_MANY", theatre.MANY_BY_DEFAULT))
# An emulated machine whose host is busy drops into long softirqs, and now and then a
# label is not there: never more than this. make ground-truth KERNEL= bears none.
STRAY_MAX = 0.0 if "TCCAP_TRUTH_MANY" in os.environ else 0.01
CASES = tuple(os.environ.get("TCCAP_TRUTH_CASES", "").split())
# What cannot be told, with the reason; docs/limitations.md has it, too.
MAY_MISS = {
    "container-pings": "an echo request that comes out of a container's veth no "
    "longer carries its socket, and there is no port by which to find it",
}


@pytest.fixture(scope="module")
def performance(tmp_path_factory: pytest.TempPathFactory) -> Performance:
    folder: Path = tmp_path_factory.mktemp("truth")
    return theatre.perform(folder, MANY, CASES)


def test_all_cases_were_played(performance: Performance) -> None:
    for case, problem in performance.problems.items():
        print(f"{case}: {problem}")  # noqa: T201  # the reason to be seen
    assert not performance.problems


@pytest.mark.timeout(1800)
def test_labels(performance: Performance) -> None:
    report = performance.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # what it is for
    for case in sorted(report.cases_with("missing") & set(MAY_MISS)):
        print(f"{case} may miss some: {MAY_MISS[case]}")  # noqa: T201
    assert report.counts
    assert not report.cases_with("wrong")
    assert report.share("missing", without=MAY_MISS) <= STRAY_MAX


def test_a_chosen_process_is_complete_and_alone(performance: Performance) -> None:
    chosen = {str(pid) for pid in performance.chosen()}
    due = Counter(
        packet.data
        for packet in performance.packets
        if {packet.label.get("pid"), packet.label.get("peer_pid")} & chosen
    )
    assert due
    assert Counter(packet.data for packet in performance.chosen_packets) == due
