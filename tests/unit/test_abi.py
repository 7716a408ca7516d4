"""abi.py mirrors bpf/abi.h."""

import re
import struct
from pathlib import Path

import pytest

from tccap import abi, options
from tccap.errors import TccapError
from tccap.paths import BPF_DIR

HEADER = (Path(BPF_DIR) / "abi.h").read_text()
MIRRORED = ("BLOCK_MAX", "EPB_HEADER_LEN", "OPTIONS_MAX", "CAPLEN_MAX")
SNAPLENS = [1, 2, 3, 4, 5, 65535, abi.CAPLEN_MAX - 1, abi.CAPLEN_MAX, 262144]


DEFINED = dict(re.findall(r"^#define (\w+) (.+)$", HEADER, re.MULTILINE))


def _value(name: str) -> int:
    def of_match(match: re.Match[str]) -> str:
        return str(_value(match[0]))

    return int(eval(re.sub(r"[A-Z_]{2,}", of_match, DEFINED[name])))


@pytest.mark.parametrize("name", MIRRORED)
def test_constants(name: str) -> None:
    assert getattr(abi, name) == _value(name)


def test_the_header_length_is_the_structs() -> None:
    body = re.search(r"struct epb_header \{(.*?)\}", HEADER, re.DOTALL)
    assert body
    assert body[1].count("u32") * 4 == abi.EPB_HEADER_LEN


def test_every_definition_is_documented() -> None:
    comment = HEADER[: HEADER.index("*/")]
    documented = set(re.findall(r"^ \*   (\w+)", comment, re.MULTILINE))
    assert set(abi.defines(96, 2)) <= documented


def test_a_process_message_is_the_structs() -> None:
    raw = struct.pack("=QIII16sB", 5, 42, 0, 1000, b"bash".ljust(16, b"\0"), 1)
    assert len(raw) % 4  # else it would pass for a block
    message = abi.ProcessMessage.parse(raw)
    assert message == (5, 42, 1000, b"bash")
    with pytest.raises(TccapError, match="a message that is not known"):
        abi.ProcessMessage.parse(raw + b"\0")


@pytest.mark.parametrize("snaplen", SNAPLENS)
def test_the_largest_block_is_one_that_wireshark_takes(snaplen: int) -> None:
    defines = abi.defines(snaplen, 2)
    padded, kept = defines["SNAPLEN_PADDED"], defines["SNAPLEN"]
    assert isinstance(padded, int)
    assert isinstance(kept, int)
    assert padded % 4 == 0
    assert 0 <= padded - kept < 4
    assert abi.EPB_HEADER_LEN + padded + abi.OPTIONS_MAX <= abi.BLOCK_MAX
    assert kept == min(snaplen, abi.CAPLEN_MAX)


@pytest.mark.parametrize("mib", [1, 2, 3, 5, 64, 100, options.RING_MIB_MAX])
def test_a_ring_is_a_power_of_two_and_large_enough(mib: int) -> None:
    pages = abi.ring_pages(mib)
    assert pages & (pages - 1) == 0
    assert mib << 20 <= pages * abi.PAGE_LEN < mib << 21
