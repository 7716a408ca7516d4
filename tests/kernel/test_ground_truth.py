"""Labels on a kernel without kprobes: some are missing, none is wrong.

Prints how many are right, wrong and missing in each case; docs/limitations.md says
why some are missing. With kprobes tests/vm/guest/test_ground_truth.py requires all.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tccap.bpf import btf, features
from tccap.owners import tracepoints
from truth import run

MANY = int(os.environ.get("TCCAP_TRUTH_MANY", run.MANY_BY_DEFAULT))


@pytest.mark.skipif(features.has_kprobes(), reason="there are kprobes")
@pytest.mark.timeout(1800)
def test_no_label_is_wrong_and_few_are_missing(tmp_path: Path) -> None:
    done = run.run_cases(tmp_path, MANY)
    report = done.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # the table to be seen
    assert not done.problems
    assert report.cases_with("wrong") == set()
    total = sum((Counter(counts) for counts in report.counts.values()), Counter())
    assert total["right"] > 4 * total["missing"]


def test_every_tracepoint_of_the_kernel_takes_its_program(tmp_path: Path) -> None:
    lacking = [name for name in tracepoints.TRACEPOINTS if not btf.tracepoint(name)]
    log = run.run_cases(tmp_path, 1, ("tcp-client-and-server",)).log
    named = [name for name in tracepoints.TRACEPOINTS if name in log]
    assert named == ([] if features.has_kprobes() else lacking)
