"""Faults: their outcome, and what is left behind. ``make faults`` prints the table."""

import os
from collections.abc import Iterator

import pytest

from faults.table import Row
from support import netns, tc

_ROWS: list[Row] = []


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests capture: run them as root"


@pytest.fixture
def rows() -> list[Row]:
    """The table to which a test adds its rows."""
    return _ROWS


@pytest.fixture
def pair() -> Iterator[netns.Pair]:
    """veth0 and veth1; at the end nothing of tccap may be left on them."""
    with netns.pair() as made:
        yield made
        assert tc.left(made.near) == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ROWS:
        terminalreporter.section("faults")
        for line in Row.lines(_ROWS):
            terminalreporter.write_line(line)
