"""The host's side of the virtual machines, as far as it needs none."""

import json
from collections import deque
from pathlib import Path

import pytest

from vm import cache, matrix
from vm.cache import CachedKernel
from vm.debian import Suite
from vm.errors import VmError
from vm.machine import Job, Outcome
from vm.report import Result, counts, failed_tests, table
from vm.table import Kernel, kernels

KERNEL = Kernel("6.1", ("bookworm",), deadline_s=60)
CACHED = CachedKernel(Path("/k"), "6.1.0-9-amd64", Path("/k/vmlinuz"))
OLD = "linux-image-6.1.0-9-amd64"
NEW = "linux-image-6.1.0-50-amd64"


class FakeSuite(Suite):
    """A suite with these packages, the first of which the meta package needs."""

    def _needed_by(self, package: str) -> list[str]:
        if package == "linux-image-amd64":
            return [package, self.name.split()[0]]
        release = package.removeprefix("linux-image-")
        return [package, f"linux-modules-{release}", "linux-base"]

    def apt(self, command: object, cwd: Path | None = None) -> str:
        del command, cwd
        return self.name


def suite_of(*images: str) -> Suite:
    return FakeSuite(" ".join(images), Path())


def test_names_select_kernels_in_order() -> None:
    assert [kernel.name for kernel in kernels(["6.12", "5.10"])] == ["6.12", "5.10"]
    assert len(kernels([])) > 3
    with pytest.raises(VmError, match=r"no kernel 2\.4"):
        kernels(["2.4"])


def test_a_series_is_not_a_prefix_of_digits() -> None:
    assert KERNEL.is_of_series("6.1.0-9-amd64")
    assert not KERNEL.is_of_series("6.12.1-amd64")


@pytest.mark.parametrize(
    ("images", "release"),
    [
        ((OLD, NEW), "6.1.0-9-amd64"),  # the suite's own choice goes first
        (("linux-image-6.5.0-1-amd64", OLD, NEW), "6.1.0-50-amd64"),
        ((NEW, f"{NEW}-dbg", "linux-image-6.1.0-50-cloud-amd64"), "6.1.0-50-amd64"),
    ],
)
def test_a_suite_finds_the_series(images: tuple[str, ...], release: str) -> None:
    packages = suite_of(*images).packages_of(KERNEL)
    assert packages is not None
    assert packages.release == release
    assert packages.names == (f"linux-image-{release}", f"linux-modules-{release}")


def test_only_the_newest_kernel_moves_on_with_its_suite() -> None:
    moved_on = suite_of("linux-image-7.4.1-amd64")
    assert moved_on.packages_of(KERNEL) is None
    following = Kernel("7.2", ("unstable",), deadline_s=60, or_newer=True)
    packages = moved_on.packages_of(following)
    assert packages is not None
    assert packages.release == "7.4.1-amd64"


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    modules = tmp_path / "lib/modules" / CACHED.release
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("veth.ko:")
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinuz-{CACHED.release}").write_bytes(b"kernel")
    state = cache._state(tmp_path, CACHED.release)
    (tmp_path / cache.SEAL).write_text(json.dumps(state))
    return tmp_path


def test_a_sealed_kernel_is_used_again(entry: Path) -> None:
    cached = cache._unsealed(entry)
    assert cached is not None
    assert cached.release == CACHED.release


@pytest.mark.parametrize(
    "damaged",
    [
        cache.SEAL,
        f"boot/vmlinuz-{CACHED.release}",
        f"lib/modules/{CACHED.release}/modules.dep",
    ],
)
def test_a_damaged_kernel_is_not_used(entry: Path, damaged: str) -> None:
    (entry / damaged).write_bytes(b"")
    assert cache._unsealed(entry) is None
    (entry / damaged).unlink()
    assert cache._unsealed(entry) is None


def test_a_job_is_quoted_for_the_shell() -> None:
    script = Job(["echo", "a b", "$HOME"], {"WHO": "it's me"}).script()
    assert "export WHO='it'\"'\"'s me'\n" in script
    assert script.endswith("echo 'a b' '$HOME'\n")


JUNIT = """<testsuites><testsuite tests="5" failures="{failures}" errors="0"
skipped="1"/></testsuites>"""


@pytest.mark.parametrize(
    ("failures", "outcome", "problem", "failed"),
    [
        (0, Outcome(status=0), "", 0),
        (2, Outcome(status=1), "", 2),
        (0, Outcome(status=3), "ended its tests with 3", 1),
        (None, Outcome(status=5), "ended its tests with 5", 1),
        (None, Outcome(status=0), "ran no test", 1),
        (None, Outcome(problem="hung", tail=deque(["oops"])), "hung", 1),
        (2, Outcome(problem="hung"), "hung", 2),
    ],
)
def test_results_that_count_as_failed(
    tmp_path: Path, failures: int | None, outcome: Outcome, problem: str, failed: int
) -> None:
    junit = tmp_path / "junit.xml"
    if failures is not None:
        junit.write_text(JUNIT.format(failures=failures))
        assert counts(junit) == (4 - failures, failures, 1)
    result = matrix._result(KERNEL, CACHED, outcome, junit)
    assert (result.problem, result.failures) == (problem, failed)


def test_the_table_repeats_the_failures(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="tests.one" name="test_a[x]">'
        '<failure message="m">first\n' + "more\n" * 30 + "last</failure></testcase>"
        '<testcase classname="tests.one" name="test_b"/></testsuite></testsuites>'
    )
    reports = tuple(failed_tests(junit))
    [*lines, _head, _row, _total] = table([Result("5.10", failed=1, reports=reports)])
    assert lines[0] == "5.10: tests.one::test_a[x]"
    assert lines[-1] == "    last"
    assert len(lines) < 30


def test_the_table_ends_in_a_total() -> None:
    lines = list(
        table([Result("5.10", passed=3, boot_s=9.6), Result("6.1", problem="hung")])
    )
    assert lines[-2:] == ["Linux 6.1 hung.", "3 passed, 1 failed"]
    assert lines[1].split() == ["5.10", "-", "3", "0", "0", "10", "0"]
