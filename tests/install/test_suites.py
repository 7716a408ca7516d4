"""Other Debian releases: other versions of Wireshark, bcc, LLVM and Python.

Each is made, installed on as the README says, and captures: make suites.
"""

import os
import re
from pathlib import Path

import pytest

from install.machine import CHECKOUT, Machine, fresh

SUITES = os.environ.get("TCCAP_SUITES", "").split()
PACKETS = 200
PYTHON = "/usr/bin/python3"
FILE = "/tmp/file.pcapng"  # in a machine of its own
FIELDS = ("frame.comment", "tccap.pid", "tccap.comm", "tccap.uid")
# Wireshark has these from 4.6 on.
NATIVE = ("frame.darwin.process_info.pid", "frame.darwin.process_info.pname")


def _version(machine: Machine, *command: str) -> str:
    result = machine.run(*command)
    found = re.search(r"\d+(\.\d+)+", result.stdout)
    assert found, result.stderr
    return found[0]


def _shown(machine: Machine, *fields: str) -> list[list[str]]:
    """Return these fields of all packets that have the first one."""
    columns = [word for name in fields for word in ("-e", name)]
    result = machine.run(
        "tshark", "-r", FILE, "-Y", fields[0], "-T", "fields", *columns
    )
    assert result.returncode == 0, result.stderr
    return [line.split("\t") for line in result.stdout.splitlines()]


@pytest.mark.skipif(not SUITES, reason="only in: make suites")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", SUITES)
def test_a_capture(folder: Path, suite: str) -> None:
    machine = fresh(folder / suite, suite)
    result = machine.run("./install.sh", folder=CHECKOUT, network=True, timeout_s=900)
    assert result.returncode == 0, result.stdout + result.stderr
    wireshark = _version(machine, "tshark", "--version")
    bcc = _version(machine, PYTHON, "-c", "import bcc; print(bcc.__version__)")
    python = _version(machine, PYTHON, "--version")
    talking = f"{CHECKOUT}/tests/install/talking.py"
    result = machine.run(PYTHON, talking, "-c", str(PACKETS), "-w", FILE, timeout_s=120)
    assert f"{PACKETS} packets captured" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr

    labelled = _shown(machine, *FIELDS)
    for comment, *fields in labelled:
        pid, comm, uid = fields
        assert comment.startswith(f"pid={pid} comm={comm} uid={uid}")
        assert (comm, uid) == ("python3", "0")
    assert labelled
    if tuple(map(int, wireshark.split("."))) >= (4, 6):
        # A process's first packets come before its block is in the stream.
        native = [row[:2] for row in _shown(machine, *NATIVE)]
        assert native
        assert native == [[pid, comm] for _, pid, comm, _ in labelled][-len(native) :]

    expert = machine.run("tshark", "-r", FILE, "-q", "-z", "expert,warn")
    assert not re.search(r"^(Errors|Warns) ", expert.stdout, re.MULTILINE)
    versions = f"Wireshark {wireshark}, bcc {bcc}, Python {python}"
    named = f"{len(labelled)} of {PACKETS} packets have their process"
    print(f"{suite}: {versions}: {named}")  # noqa: T201  # what it is for
