"""What tests of several folders ask for."""

import os
import signal

import pytest
from hypothesis import settings

from support import bpf, probes

# How long an example takes says nothing on a busy machine.
settings.register_profile("tccap", deadline=None)
settings.load_profile("tccap")


def pytest_configure() -> None:
    """Undo that a job in the background ignores signals: tests send them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", params=["tcx", "clsact"])
def without_tcx(request: pytest.FixtureRequest) -> bool:
    """Both ways of attaching; in virtual machines the one that the kernel prefers."""
    if request.param == "tcx":
        probes.skip_unless(bpf.has_tcx(), "TCX", since=(6, 6))
    elif os.environ.get("TCCAP_VM") and bpf.has_tcx():
        pytest.skip("to save time: clsact is run on the kernels without TCX")
    return bool(request.param == "clsact")
