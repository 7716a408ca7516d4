"""Files that are refused, each with its reason."""

import pytest

from support.elf import elf, load
from tccap.tls import sites
from tccap.tls.finder.inspect import inspect

# Rust's texts end without NUL.
LABELS = "".join(sites.LABELS).encode()
RUSTLS = b"/registry/src/index.crates.io-6f17d22bba15001f/rustls-0.23.5/src/key_log.rs"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b"\x7fELF", "damaged"),
        (bytes(64), "not an ELF"),
        (elf(load(0, 0, 1), machine=183), "x86-64"),
        (elf(load(0, 0, 1), kind=1), "neither"),
        (elf(), "damaged"),
        (elf(load(0, 0, 1 << 20)), "damaged"),
        (elf(load(1 << 62, 0, 1 << 63)), "damaged"),
        (elf(load(0, 1 << 62, 8)), "damaged"),
        (elf(load(0, 0, 0x78)), "no key-log labels"),
        (elf(load(0, 0, 0x78)) + RUSTLS, "no key-log labels"),
        (elf(load(0, 0, 0x78)) + LABELS, "labels in a form"),
        (elf(load(0, 0, 0x78)) + LABELS + RUSTLS, "It uses rustls"),
    ],
)
def test_code_that_is_not_understood_is_refused(content: bytes, why: str) -> None:
    assert why in inspect(content).refusal
