"""Machines for the tests, from the emptiest to the one where tccap is installed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from install.machine import CHECKOUT, Machine, fresh, this_one

IN_GUEST = os.environ.get("TCCAP_VM") == "1"
INSTALL_SUDO = """
apt-get update -qq || true
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq --no-install-recommends sudo >/dev/null
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines of this session are; gigabytes, so not kept."""
    if os.geteuid() != 0:
        pytest.skip("making root file systems needs root: sudo make test")
    if IN_GUEST:  # whose root file system is an overlay, on which there can be no other
        folder = Path("/run/machines")
        folder.mkdir()
    else:
        folder = tmp_path_factory.mktemp("machines")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fresh_machine(folder: Path) -> Machine:
    """A Debian with nothing installed."""
    return fresh(folder)


@pytest.fixture(scope="session")
def installed_machine(folder: Path, fresh_machine: Machine) -> Machine:
    """A Debian where the first command of the README was given."""
    machine = fresh_machine.another(folder / "installed")
    result = machine.run("./install.sh", folder=CHECKOUT, network=True, timeout_s=500)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "Installing python3-bpfcc python3-venv tshark ...",
        (
            "tccap is installed in /usr/local/lib/tccap; "
            "'sudo tccap check' shows what works here."
        ),
        (
            "There is no sudo here: only root can capture. "
            "Once sudo is installed, run install.sh again."
        ),
    ]
    return machine


@pytest.fixture(scope="session")
def machine_with_sudo(folder: Path, request: pytest.FixtureRequest) -> Machine:
    """A machine with sudo, and what tccap needs: this guest itself, or a fresh one."""
    if IN_GUEST:
        return this_one(folder)
    installed: Machine = request.getfixturevalue("installed_machine")
    machine = installed.another(folder / "sudo")
    done = machine.run("sh", "-ec", INSTALL_SUDO, network=True, timeout_s=300)
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture
def machine(installed_machine: Machine, tmp_path: Path) -> Iterator[Machine]:
    """A machine with tccap installed, for one test to change as it likes."""
    yield installed_machine.another(tmp_path / "machine")
    shutil.rmtree(tmp_path / "machine")
