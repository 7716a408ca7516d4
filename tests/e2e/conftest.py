import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns, tc
from support.tls import World
from support.wireshark import Wireshark


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests capture: run them as root"


@pytest.fixture(scope="module")
def wireshark(tmp_path_factory: pytest.TempPathFactory) -> Wireshark:
    top = tmp_path_factory.mktemp("wireshark")
    # An ordinary user shall get here, too.
    for folder in (top, *top.parents[:2]):
        folder.chmod(0o755)
    return Wireshark(top)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give servers and clients that speak TLS, in a namespace."""
    folder = tmp_path_factory.mktemp("tls")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    with netns.namespace() as space:
        yield World(space, folder)


@pytest.fixture(scope="module")
def pair() -> Iterator[netns.Pair]:
    """veth0 and veth1; at the end nothing of ours may be on them."""
    with netns.pair() as made:
        yield made
        assert tc.left(made.near) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
