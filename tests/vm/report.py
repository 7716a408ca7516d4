"""The results of the kernels' test runs, as a table."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

FAILURE_LINES = 15


@dataclass(frozen=True)
class Result:
    """One kernel's tests. A problem is a failure that no test reported."""

    kernel: str
    release: str = "-"
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    boot_s: float | None = None
    total_s: float = 0.0
    problem: str = ""
    reports: tuple[str, ...] = ()  # of the failed tests, with their names

    @property
    def failures(self) -> int:
        """Count failed tests; a machine that failed without one counts as one."""
        return self.failed or bool(self.problem)


def counts(junit: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped."""
    total: Counter[str] = Counter()
    for suite in ET.parse(junit).getroot().iter("testsuite"):
        for key in ("tests", "failures", "errors", "skipped"):
            total[key] += int(suite.get(key, 0))
    failed, skipped = total["failures"] + total["errors"], total["skipped"]
    # A test that passes and then fails in its teardown is one test and one error.
    return max(0, total["tests"] - failed - skipped), failed, skipped


def failed_tests(junit: Path) -> Iterator[str]:
    """Yield each failed test's name and the last lines of its report."""
    for case in ET.parse(junit).getroot().iter("testcase"):
        for failure in (*case.iter("failure"), *case.iter("error")):
            lines = (failure.text or "").splitlines()[-FAILURE_LINES:]
            name = f"{case.get('classname')}::{case.get('name')}"
            yield "\n".join((name, *(f"    {line}" for line in lines)))


def table(results: Iterable[Result]) -> Iterator[str]:
    """Yield the report's lines: the failures, one line per kernel, then the total.

    The failures are repeated here because often only the end of a long output is
    kept.
    """
    results = list(results)
    for r in results:
        for text in r.reports:
            yield from f"{r.kernel}: {text}".splitlines()
    form = "{:<8}{:<26}{:>7}{:>7}{:>8}{:>7}{:>8}"
    heads = ("kernel", "release", "passed", "failed", "skipped", "boot s", "total s")
    yield form.format(*heads)
    for r in results:
        boot = "-" if r.boot_s is None else f"{r.boot_s:.0f}"
        cells = (r.passed, r.failures, r.skipped, boot, f"{r.total_s:.0f}")
        yield form.format(r.kernel, r.release, *cells)
    for r in results:
        if r.problem:
            yield f"Linux {r.kernel} {r.problem}."
    passed = sum(r.passed for r in results)
    yield f"{passed} passed, {sum(r.failures for r in results)} failed"
