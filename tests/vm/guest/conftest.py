"""Tests in this folder run in a virtual machine only: they load kernel modules."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def _in_virtual_machine() -> None:
    if os.environ.get("TCCAP_VM") != "1":
        pytest.skip("needs a virtual machine: make test-vm")
