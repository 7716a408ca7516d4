"""Labels on a kernel without kprobes: some are missing, none is wrong.

Prints how many are right, wrong and missing in each case; docs/limitations.md says
why some are missing. With kprobes tests/vm/guest/test_ground_truth.py requires all.
"""

import os
from pathlib import Path

import pytest

from tccap.bpf import btf, features
from tccap.owners import tracepoints
from truth import run, verdict
from truth.claims import Claims
from truth.missing import MAY_MISS, WITHOUT_KPROBES

# Polling may come late on a busy host, and a label of any case is missing then.
STRAY_MAX = 0.01
CASES = tuple(os.environ.get("TCCAP_TRUTH_CASES", "").split())
MANY = int(os.environ.get("TCCAP_TRUTH_MANY", run.MANY_BY_DEFAULT))


@pytest.mark.alone  # how many labels are missing depends on how soon the engine polls
@pytest.mark.skipif(features.has_kprobes(), reason="there are kprobes")
@pytest.mark.timeout(1800)
def test_no_label_is_wrong_and_few_are_missing(tmp_path: Path) -> None:
    done = run.run_cases(tmp_path, MANY, CASES)
    report = done.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # the table to be seen
    print(*report.reasons(MAY_MISS | WITHOUT_KPROBES), sep="\n")  # noqa: T201
    assert not done.problems
    assert not report.cases_with("wrong")
    assert report.share("missing", without=MAY_MISS | WITHOUT_KPROBES) <= STRAY_MAX


CHOSEN = (
    "chosen-process",
    "chosen-process-in-a-container",
    "chosen-process-beside-translation",
)


# In virtual machines the ground truth's own captures of chosen processes show it.
@pytest.mark.alone  # as above
@pytest.mark.full_matrix
def test_a_capture_of_chosen_processes_has_all_of_theirs_and_no_others(
    tmp_path: Path,
) -> None:
    done = run.run_cases(tmp_path, 1, CHOSEN)
    assert not done.problems
    chosen = {str(pid) for pid in done.chosen()}
    of_chosen = [_ends(p.label) & chosen for p in done.chosen_packets]
    assert all(of_chosen)
    assert set.union(*of_chosen) == chosen
    due = [p for p in done.packets if _ends(p.label) & chosen]
    # Each of the two captures looks for sockets on its own, where there are no kprobes.
    stray_max = 0 if features.has_kprobes() else len(due) // 10
    assert abs(len(due) - len(done.chosen_packets)) <= stray_max
    verdicts = verdict.judge(done.chosen_packets, Claims(iter(done.claims)))
    assert [str(one) for one in verdicts if one.verdict == "wrong"] == []


FIRST = (
    "first-datagram-to-another-host",
    "first-ping-to-another-host",
    "first-datagram-of-an-heir",
    "first-datagram-by-a-socket-that-was-passed-on",
)


def test_what_a_socket_sends_first_has_its_sender(tmp_path: Path) -> None:
    done = run.run_cases(tmp_path, 1, FIRST)
    report = done.report()
    assert not done.problems
    assert report.cases_with("right") == set(FIRST)
    assert not report.cases_with("wrong") | report.cases_with("missing")


def _ends(label: dict[str, str]) -> set[str]:
    return {label[key] for key in ("pid", "peer_pid") if key in label}


def test_every_tracepoint_of_the_kernel_takes_its_program(tmp_path: Path) -> None:
    lacking = [name for name in tracepoints.TRACEPOINTS if not btf.tracepoint(name)]
    log = run.run_cases(tmp_path, 1, ("tcp-client-and-server",)).log
    named = [name for name in tracepoints.TRACEPOINTS if name in log]
    assert named == ([] if features.has_kprobes() else lacking)
