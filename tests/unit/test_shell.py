"""What cannot be seen by running a shell script once."""

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


SCRIPTS = (
    "install.sh",
    "requirements/refresh.sh",
    "sbin/tccap-engine",
    "tests/deps.sh",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_no_complaint(script: str) -> None:
    result = subprocess.run(
        ["shellcheck", TOP / script], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
