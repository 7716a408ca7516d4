"""Limits of whoever starts the engine, and devices beyond them."""

import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from support import netns, running

pytestmark = pytest.mark.full_matrix

PAIRS = 125  # each device takes two links: more descriptors than the limit
FURTHER = 100  # how many files the tests may open themselves


@pytest.fixture
def few_open_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + FURTHER  # noqa: PTH208
    assert limit < 4 * PAIRS
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_open_files")
def test_devices_do_not_run_out_of_descriptors() -> None:
    with netns.namespace() as space:
        links = "".join(
            f"link add a{n} type veth peer name b{n}\n"
            f"link set a{n} up\nlink set b{n} up\n"
            for n in range(PAIRS)
        )
        subprocess.run(
            space.command("ip", "-batch", "-"), input=links, text=True, check=True
        )
        with running.engine(space, "any") as engine:
            found = engine.stop()
    assert len(found.interfaces) == 2 * PAIRS + 1
