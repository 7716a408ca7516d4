"""abi.py mirrors bpf/abi.h."""

import re
from pathlib import Path

import pytest

from tccap import abi, options
from tccap.paths import BPF_DIR

HEADER = (Path(BPF_DIR) / "abi.h").read_text()
MIRRORED = ("BLOCK_MAX", "EPB_HEADER_LEN", "OPTIONS_MAX", "CAPLEN_MAX")
SNAPLENS = [1, 2, 3, 4, 5, 65535, abi.CAPLEN_MAX - 1, abi.CAPLEN_MAX, 262144]
# What tccap.attribution gives: it asks the kernel for some of it.
ATTRIBUTION = {
    *{"ATTRIBUTION", "LABELS", "LABEL_TIDS", "LABEL_MAX", "HOOKS", "FENTRY"},
    *{"HAS_SOCK_FROM_FILE", "SOCKET_FILE_OPS"},
    *{"FILTER_PIDS", "FILTER_UIDS", "FILTER_COMMS"},
    *{"FILTER_PROCESSES", "FOLLOW_CHILDREN", "SOCKETS", "PROCESSES", "OWN_NETNS"},
}

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


def test_every_definition_is_documented_and_given() -> None:
    comment = HEADER[: HEADER.index("*/")]
    documented = set(re.findall(r"^ \*   (\w+)", comment, re.MULTILINE))
    given = set(abi.defines(96, 2)) | {"RING_PAGES"}
    assert given < documented
    assert documented - given == ATTRIBUTION


@pytest.mark.parametrize("snaplen", SNAPLENS)
def test_the_largest_block_is_one_that_wireshark_takes(snaplen: int) -> None:
    defines = abi.defines(snaplen, 2)
    padded = defines["SNAPLEN_PADDED"]
    assert padded % 4 == 0
    assert 0 <= padded - defines["SNAPLEN"] < 4
    assert abi.EPB_HEADER_LEN + padded + abi.OPTIONS_MAX <= abi.BLOCK_MAX
    assert defines["SNAPLEN"] == min(snaplen, abi.CAPLEN_MAX)


@pytest.mark.parametrize("mib", [1, 2, 3, 5, 64, 100, options.RING_MIB_MAX])
def test_a_ring_is_a_power_of_two_and_large_enough(mib: int) -> None:
    pages = abi.ring_pages(mib)
    assert pages & (pages - 1) == 0
    assert mib << 20 <= pages * abi.PAGE_LEN < mib << 21
