import os

import pytest

from support import bpf, probes


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    assert os.geteuid() == 0, "these tests talk to the kernel: run them as root"


@pytest.fixture(scope="module", params=["tcx", "clsact"])
def without_tcx(request: pytest.FixtureRequest) -> bool:
    """Both ways of attaching, on every kernel that has them."""
    if request.param == "tcx":
        probes.skip_unless(bpf.has_tcx(), "TCX", since=(6, 6))
    return bool(request.param == "clsact")
