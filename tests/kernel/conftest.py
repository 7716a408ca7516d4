import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns
from support.tls import TlsHost
from tccap.engine import limits


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests talk to the kernel: run them as root"
    limits.lift_memory_lock_limit()


@pytest.fixture(scope="module")
def pair() -> Iterator[netns.Pair]:
    """veth0 and veth1, shared by the tests of a module."""
    with netns.pair() as made:
        yield made


@pytest.fixture
def space() -> Iterator[netns.Namespace]:
    """A namespace for this test alone, with lo."""
    with netns.namespace() as made:
        yield made


@pytest.fixture
def tls_host() -> Iterator[TlsHost]:
    """Servers and clients that speak TLS, in a namespace for this test alone."""
    with (
        tempfile.TemporaryDirectory(prefix="tccap-test-") as name,
        netns.namespace() as space,
    ):
        yield TlsHost(space, Path(name))
