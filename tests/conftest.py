"""What tests of several folders ask for."""

import os

import pytest

from support import bpf, probes


@pytest.fixture(scope="module", params=["tcx", "clsact"])
def without_tcx(request: pytest.FixtureRequest) -> bool:
    """Both ways of attaching; in virtual machines the one that the kernel prefers."""
    if request.param == "tcx":
        probes.skip_unless(bpf.has_tcx(), "TCX", since=(6, 6))
    elif os.environ.get("TCCAP_VM") and bpf.has_tcx():
        pytest.skip("to save time: clsact is run on the kernels without TCX")
    return bool(request.param == "clsact")
