"""Answers on stdout, where it cannot be written."""

import os
import subprocess

import pytest

from tccap.paths import SCRIPT

CALLS = ("--version", "-D", "--extcap-interfaces")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_the_reason_is_one_sentence(call: str, redirection: str, reason: str) -> None:
    done = _run(f"{SCRIPT} {call} {redirection}")
    assert done.stderr == f"stdout cannot be written: {reason}.\n"
    assert done.returncode == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_reader_that_has_gone_is_no_error(call: str) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    done = subprocess.run(
        [SCRIPT, call], stdout=write_fd, stderr=subprocess.PIPE, check=False
    )
    os.close(write_fd)
    assert (done.returncode, done.stderr) == (1, b"")


def test_closed_stderr_is_no_error() -> None:
    assert _run(f"{SCRIPT} --version 2>&-").stdout.startswith("tccap ")


def _run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False
    )
