import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns, tc
from support.tls import TlsHost
from support.wireshark import Wireshark


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests capture: run them as root"


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """Yield a folder that an ordinary user can enter, too.

    pytest's own are closed to others again whenever another pytest starts.
    """
    with tempfile.TemporaryDirectory(prefix="tccap-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def wireshark() -> Iterator[Wireshark]:
    with _open_folder() as folder:
        yield Wireshark(folder)


@pytest.fixture(scope="module")
def tls_host() -> Iterator[TlsHost]:
    """Yield servers and clients that speak TLS, in a namespace."""
    with _open_folder() as folder, netns.namespace() as space:
        yield TlsHost(space, folder)


@pytest.fixture(scope="module")
def pair() -> Iterator[netns.Pair]:
    """veth0 and veth1; at the end nothing of tccap may be left on them."""
    with netns.pair() as made:
        yield made
        assert tc.left(made.near) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
