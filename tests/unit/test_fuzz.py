"""Bad input, short; ``make fuzz`` does it a million times and prints the counts."""

import os
import random
import sys

import pytest

import fuzz

TOTAL = int(os.environ.get("TCCAP_FUZZ_CASES", "10000"))


@pytest.mark.timeout(0 if TOTAL > 100_000 else 600)
@pytest.mark.parametrize("name", fuzz.SUITES)
def test_no_input_makes_it_crash(name: str) -> None:
    suite, share = fuzz.SUITES[name]
    count = fuzz.cases(TOTAL, share)
    for number in range(count):
        case = f"{name} {fuzz.seed()} {number}"
        try:
            suite(random.Random(case))
        except Exception as error:
            raise AssertionError(f"case {case!r}: {error!r}") from error
    sys.stdout.write(f"\n{name:32} {count:9} cases, 0 crashes\n")
