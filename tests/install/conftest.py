"""Machines for the tests, from the emptiest to the one where tccap is installed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from install.machine import CHECKOUT, Machine, fresh


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines of this session are; gigabytes, so not kept."""
    if os.geteuid() != 0:
        pytest.skip("making root file systems needs root: sudo make test")
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
            "'sudo tccap check' tells what works here."
        ),
        "There is no sudo here: only root can capture.",
    ]
    return machine


@pytest.fixture
def machine(installed_machine: Machine, tmp_path: Path) -> Iterator[Machine]:
    """A machine with tccap installed, for one test to change as it likes."""
    yield installed_machine.another(tmp_path / "machine")
    shutil.rmtree(tmp_path / "machine")
