import os
from collections.abc import Iterator

import pytest

from support import bpf, netns, probes


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests talk to the kernel: run them as root"


@pytest.fixture(scope="module", params=["tcx", "clsact"])
def without_tcx(request: pytest.FixtureRequest) -> bool:
    """Both ways of attaching; in virtual machines the one that the kernel prefers."""
    if request.param == "tcx":
        probes.skip_unless(bpf.has_tcx(), "TCX", since=(6, 6))
    elif os.environ.get("TCCAP_VM") and bpf.has_tcx():
        pytest.skip("to save time: clsact is run on the kernels without TCX")
    return bool(request.param == "clsact")


@pytest.fixture(scope="module")
def pair() -> Iterator[netns.Pair]:
    """veth0 and veth1, shared by the tests of a module."""
    with netns.pair() as made:
        yield made


@pytest.fixture
def space() -> Iterator[netns.Namespace]:
    """A namespace of the test's own, with lo."""
    with netns.namespace() as made:
        yield made
