"""The tests, on every kernel of the table."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from vm import cache, console, report
from vm.cache import CachedKernel
from vm.errors import VmError
from vm.machine import GUEST_SHARE, Job, Machine, Outcome, shared_folder
from vm.report import Result
from vm.table import Kernel

# Only against hanging: emulation is about twenty times slower than the host, so
# seconds become minutes.
TEST_TIMEOUT_S = 1800
TESTS = ("tests/vm/guest", "tests/kernel", "tests/faults/test_devices.py")
# Structures of the kernel, labels, and programs of every kind for the verifier
TESTS_BETWEEN = (
    "tests/vm/guest/test_features.py",
    "tests/vm/guest/test_ground_truth.py",
    "tests/kernel/test_golden.py",
    "tests/kernel/test_large_filters.py",
    "tests/kernel/test_own_secrets.py",
    "tests/kernel/test_verifier.py",
    "tests/kernel/test_vrf.py",
)
TESTS_OF_USERS = ("tests/install/test_users.py",)
FULL = bool(os.environ.get("TCCAP_VM_FULL"))


async def run(kernels: list[Kernel]) -> int:
    """Run the tests on these kernels, a machine per processor; return 0 if all pass.

    Those that take longest come first, so that the machines end at the same time.
    """
    kernels = sorted(kernels, key=lambda kernel: kernel.between)
    processors = asyncio.Semaphore(min(2, os.cpu_count() or 1))

    async def one(kernel: Kernel) -> Result:
        async with processors:
            return await _test(kernel)

    results = await asyncio.gather(*map(one, kernels))
    console.write(["", *report.table(results)])
    return int(any(result.failures for result in results))


async def _test(kernel: Kernel) -> Result:
    try:
        cached = await asyncio.to_thread(cache.ready, kernel)
    except VmError as error:
        console.write([str(error)], of=kernel.name)
        return Result(kernel.name, problem="could not be fetched")
    with shared_folder() as share:
        outcome = await Machine(cached, kernel.deadline_s).run(
            pytest_job(cached, _tests(kernel)),
            share,
            lambda line: console.write([line], of=kernel.name),
        )
        return _result(kernel, cached, outcome, share / "junit.xml")


def _tests(kernel: Kernel) -> tuple[str, ...]:
    of_users = TESTS_OF_USERS if kernel.users or FULL else ()
    return (TESTS_BETWEEN if kernel.between and not FULL else TESTS) + of_users


def pytest_job(kernel: CachedKernel, tests: tuple[str, ...]) -> Job:
    """Return the job that runs these tests, as far as the marks and FULL say."""
    chosen = "not same_everywhere" + ("" if FULL else " and not full_matrix")
    return Job(
        [
            *(".venv/bin/python", "-m", "pytest", "-v", "--color=no"),
            *("--timeout", str(TEST_TIMEOUT_S), "-p", "no:cacheprovider"),
            *("-m", chosen, "--durations", "25"),
            f"--junitxml={GUEST_SHARE}/junit.xml",
            *tests,
        ],
        guest_environment(kernel),
    )


def guest_environment(kernel: CachedKernel) -> dict[str, str]:
    """Return the environment variables that tests in a guest need."""
    return {
        "TCCAP_VM": "1",
        "TCCAP_VM_RELEASE": kernel.release,
        "TCCAP_REQUIRE_KERNEL": "1",
        "TCCAP_DEADLINE_S": "900",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


def _result(
    kernel: Kernel, cached: CachedKernel, outcome: Outcome, junit: Path
) -> Result:
    result = Result(
        kernel.name,
        cached.release,
        boot_s=outcome.boot_s,
        total_s=outcome.total_s,
        problem=outcome.problem,
    )
    if junit.exists():
        passed, failed, skipped = report.counts(junit)
        result = replace(
            result,
            passed=passed,
            failed=failed,
            skipped=skipped,
            reports=tuple(report.failed_tests(junit)),
        )
    if result.problem:
        console.write(outcome.tail, of=kernel.name)
    elif outcome.status and not result.failed:
        result = replace(result, problem=f"ended its tests with {outcome.status}")
    elif not result.passed and not result.failed:
        result = replace(result, problem="ran no test")
    return result
