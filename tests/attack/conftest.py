"""Counts of attempts, which `make attack` prints."""

from collections import Counter

import pytest

COUNTS: Counter[str] = Counter()


@pytest.fixture
def counted() -> Counter[str]:
    """Return the counts, by what was attacked."""
    return COUNTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not COUNTS:
        return
    terminalreporter.section("attacks: attempts that failed")
    for target, count in sorted(COUNTS.items()):
        terminalreporter.write_line(f"{count:5}  {target}")
