"""Libraries that others have built are found and proven, without any change here."""

import os

import pytest

from finder.builds import BUILDS, Build
from finder.running import MEMORY_MIB_MAX, measure
from tccap.tlssites import Number, Path, Site

WANTED = [b for b in BUILDS if b.is_small or os.environ.get("TCCAP_FINDER_MATRIX")]


@pytest.mark.parametrize("build", WANTED, ids=lambda build: str(build.name))
def test_a_foreign_build(build: Build) -> None:
    measured = measure(build.file())
    answer = measured.answer
    assert answer is not None, f"the finder ended with {measured.status}"
    print(
        f"{build.name:44} {answer.library or 'refused':10} {answer.version_hint:18} "
        f"{measured.cpu_s:5.1f} s {measured.memory_mib:4} MiB {answer.refusal}"
    )
    assert measured.memory_mib <= MEMORY_MIB_MAX
    assert answer.library == build.library
    expected = [(s.address, s.file_offset) for s in answer.sites]
    assert answer.sites == tuple(_site(build, *place) for place in expected)
    assert bool(answer.sites) == bool(build.library)


def _site(build: Build, address: int, file_offset: int) -> Site:
    """Return the site as all libraries so far have it, but for its address."""
    return Site(
        address=address,
        file_offset=file_offset,
        kind="line",
        label=Path("rsi", (0,)),
        label_len=None,
        client_random=Path("rdi", build.random),
        secret=Path("rdx", (0,)),
        secret_len=Number(Path("rcx", ()), 4),
    )
