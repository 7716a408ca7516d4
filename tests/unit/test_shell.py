"""Faults in shell scripts that running them once does not show."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SHEBANGS = ("#!/bin/sh\n", "#!/usr/bin/env bash\n")
FOLDERS = (".ci", "docs", "requirements", "sbin", "tests")


def _scripts() -> Iterator[str]:
    """Yield the path of every shell script, from the top of the checkout."""
    for folder in (TOP, *(TOP / name for name in FOLDERS)):
        for path in folder.glob("*" if folder == TOP else "**/*"):
            if path.is_file() and _is_shell(path):
                yield str(path.relative_to(TOP))


def _is_shell(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline() in SHEBANGS


SCRIPTS = sorted(_scripts())


def test_all_scripts_are_found() -> None:
    assert {"install.sh", "sbin/tccap-engine", "tests/deps.sh"} < set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    result = subprocess.run(
        ["shellcheck", TOP / script], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_lint_checks_every_script() -> None:
    commands = subprocess.run(
        ["make", "-n", "-C", TOP, "lint"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (line,) = (line for line in commands if line.startswith("shellcheck "))
    assert sorted(line.split()[1:]) == SCRIPTS
