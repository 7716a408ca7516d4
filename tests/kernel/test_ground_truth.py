"""Labels on a kernel without kprobes: some are missing, none is wrong.

Prints how many are right, wrong and missing in each case; docs/limitations.md says
why some are missing. With kprobes tests/vm/guest/test_ground_truth.py requires all.
"""

import os
from pathlib import Path

import pytest

from tccap.bpf import btf, features
from tccap.owners import tracepoints
from truth import run
from truth.missing import MAY_MISS, WITHOUT_KPROBES

# Polling may come late on a busy host, and a label of any case is missing then.
STRAY_MAX = 0.01
CASES = tuple(os.environ.get("TCCAP_TRUTH_CASES", "").split())
MANY = int(os.environ.get("TCCAP_TRUTH_MANY", run.MANY_BY_DEFAULT))


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


def test_every_tracepoint_of_the_kernel_takes_its_program(tmp_path: Path) -> None:
    lacking = [name for name in tracepoints.TRACEPOINTS if not btf.tracepoint(name)]
    log = run.run_cases(tmp_path, 1, ("tcp-client-and-server",)).log
    named = [name for name in tracepoints.TRACEPOINTS if name in log]
    assert named == ([] if features.has_kprobes() else lacking)
