"""Libraries built by others are proven without a table of versions."""

import os
from dataclasses import replace

import pytest

from finder.builds import BUILDS, RUSTLS, Build
from finder.running import MEMORY_MIB_MAX, measure
from tccap.tls.sites import LABELS, Inspection, Number, Numbered, Path, Site

# Go's internal ABI (src/cmd/compile/abi-internal.md), and the one before 1.17.
GO_REGISTERS = (
    *(Path("rbx", (0,)), Path("rcx", ()), Path("rdi", (0,))),
    *(Path("r9", (0,)), Path("r10", ())),
)
GO_STACK = (
    *(Path("rsp", (16, 0)), Path("rsp", (24,)), Path("rsp", (32, 0))),
    *(Path("rsp", (56, 0)), Path("rsp", (64,))),
)
WHOLE = bool(os.environ.get("TCCAP_FINDER_MATRIX"))
WANTED = [build for build in BUILDS if build.is_small or WHOLE]
WANTED_RUSTLS = [build for build in RUSTLS if build.is_small or WHOLE]


@pytest.mark.parametrize("build", WANTED, ids=lambda build: str(build.name))
def test_a_foreign_build(build: Build) -> None:
    answer = _inspected(build)
    expected = _expected(build)
    assert len(answer.sites) == (2 if build.library == "s2n" else bool(expected))
    for site in answer.sites:
        assert _without_place(site) in expected
    assert answer.handle_at == (8 if build.member == "libnss3.so" else None)


@pytest.mark.parametrize("build", WANTED_RUSTLS, ids=lambda build: str(build.name))
def test_a_foreign_build_of_rustls(build: Build) -> None:
    """All secrets that decryption needs are read: in one function, or one by one."""
    answer = _inspected(build)
    read = {site.label for site in answer.sites if isinstance(site.label, str)}
    from_table = [site for site in answer.sites if site.label_len is not None]
    assert from_table or {*LABELS[2:6]} <= read
    assert "CLIENT_RANDOM" in read


def _inspected(build: Build) -> Inspection:
    measured = measure(build.file())
    answer = measured.answer
    assert answer is not None, f"the finder ended with {measured.status}"
    print(
        f"{build.name:44} {answer.library or 'refused':10} {answer.version_hint:18} "
        f"{measured.cpu_s:5.1f} s {measured.memory_mib:4} MiB {answer.refusal}"
    )
    assert measured.memory_mib <= MEMORY_MIB_MAX
    assert answer.library == build.library
    return answer


def _without_place(site: Site) -> Site:
    return replace(site, address=0, file_offset=0)


def _expected(build: Build) -> list[Site]:
    """Return the sites that are possible, without address and offset."""
    if build.library == "Go":
        return [_go_site(*GO_REGISTERS), _go_site(*GO_STACK)]
    if build.library == "NSS":
        return _nss_sites(build)
    if build.library == "s2n":
        return _s2n_sites(*build.random)
    return [
        Site(
            address=0,
            file_offset=0,
            kind="line",
            label=Path("rsi", (0,)),
            label_len=None,
            client_random=Path("rdi", build.random),
            secret=Path("rdx", (0,)),
            secret_len=Number(Path("rcx", ()), 4),
        )
    ]


def _nss_sites(build: Build) -> list[Site]:
    if build.member == "libssl3.so":
        paths = Path("rsi", (0,)), None, Path("rdi", build.random), Path("rdx", (0,))
        return [Site(0, 0, "key", *paths, 32)]
    if build.member == "libnss3.so":
        return []
    return [
        Site(
            *(0, 0, "value"),
            *(Path(object_, (*build.random, 32)), None, Path(object_, (24,))),
            Path(object_, (*build.random, 40, 0)),
            Number(Path(object_, (*build.random, 48)), 8),
        )
        for object_ in ("rbx", "rbp", "r14")
    ]


def _s2n_sites(client_random: int, master_secret: int) -> list[Site]:
    kinds = ((0, LABELS[1]), *enumerate(LABELS[2:6], 1), (5, "EXPORTER_SECRET"))
    label = Numbered(Number(Path("rdx", ()), 4), kinds)
    random = Path("rdi", (client_random,))
    size = Number(Path("rsi", (8,)), 4)
    secrets = Path("rsi", (0, 0)), Path("rdi", (master_secret,))
    return [
        Site(0, 0, "line", label, None, random, secrets[0], size),
        Site(0, 0, "line", "CLIENT_RANDOM", None, random, secrets[1], 48),
    ]


def _go_site(
    label: Path, label_len: Path, random: Path, secret: Path, secret_len: Path
) -> Site:
    lengths = Number(label_len, 8), Number(secret_len, 8)
    return Site(0, 0, "line", label, lengths[0], random, secret, lengths[1])
