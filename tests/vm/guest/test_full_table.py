"""More sockets than the table of owners holds: labels are missing, none is wrong."""

from pathlib import Path

import pytest

from truth import run

SMALL = ("--sockets", "1024")


@pytest.mark.timeout(1800)
def test_labels_when_the_table_of_sockets_is_full(tmp_path: Path) -> None:
    full = run.run_cases(tmp_path, 1, ("more-sockets-than-the-table-holds",), SMALL)
    report = full.report()
    print("", *report.lines(), sep="\n")  # noqa: T201  # the table to be seen
    assert not full.problems
    assert not report.cases_with("wrong")
