"""abi.py mirrors bpf/abi.h."""

import re
import sys
from pathlib import Path

import pytest

from tccap.errors import TccapError
from tccap.ipc.values import RING_MIB_MAX
from tccap.paths import BPF_DIR
from tccap.stream import abi

HEADER = (Path(BPF_DIR) / "abi.h").read_text()
MIRRORED = ("BLOCK_MAX", "EPB_HEADER_LEN", "OPTIONS_MAX", "CAPLEN_MAX")
SNAPLENS = [1, 2, 3, 4, 5, 65535, abi.CAPLEN_MAX - 1, abi.CAPLEN_MAX, 262144]
# What tccap.attribution gives: it asks the kernel for some of it.
ATTRIBUTION = {
    *{"ATTRIBUTION", "LABELS", "LABEL_TIDS", "LABEL_MAX", "HOOKS", "FENTRY"},
    *{"CALLERS", "HAS_SOCK_FROM_FILE", "SOCKET_FILE_OPS"},
    *{"FILTER_PIDS", "FILTER_UIDS", "FILTER_COMMS"},
    *{"FILTER_PROCESSES", "FOLLOW_CHILDREN", "SOCKETS", "PROCESSES"},
}
# What tccap.tls gives.
TLS = {"TLS", "TLS_ANY_USER", "TLS_USER"}

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
    assert documented - given == ATTRIBUTION | TLS


@pytest.mark.parametrize("snaplen", SNAPLENS)
def test_the_largest_block_is_one_that_wireshark_takes(snaplen: int) -> None:
    defines = abi.defines(snaplen, 2)
    padded = defines["SNAPLEN_PADDED"]
    assert padded % 4 == 0
    assert 0 <= padded - defines["SNAPLEN"] < 4
    assert abi.EPB_HEADER_LEN + padded + abi.OPTIONS_MAX <= abi.BLOCK_MAX
    assert defines["SNAPLEN"] == min(snaplen, abi.CAPLEN_MAX)


@pytest.mark.parametrize("mib", [1, 2, 3, 5, 64, 100, RING_MIB_MAX])
def test_a_ring_is_a_power_of_two_and_large_enough(mib: int) -> None:
    pages = abi.ring_pages(mib)
    assert pages & (pages - 1) == 0
    assert mib << 20 <= pages * abi.PAGE_LEN < mib << 21


MESSAGES = ("PROCESS", "HELLO", "SECRET", "HELD", "HELD_SERVER_HELLO")


@pytest.mark.parametrize("name", MESSAGES)
def test_kinds_of_messages(name: str) -> None:
    assert getattr(abi, name) == int(DEFINED[f"MESSAGE_{name}"])


def test_a_hello_is_read() -> None:
    pids = (7).to_bytes(4, sys.byteorder) + (8).to_bytes(4, sys.byteorder)
    raw = b"f" * 40 + b"r" * 32 + pids + bytes([abi.HELLO])
    assert len(raw) % 4 == 1
    assert abi.HelloMessage.parse(raw) == (b"f" * 40, b"r" * 32, 7, 8)


def test_a_secret_is_read() -> None:
    head = b"".join(n.to_bytes(4, sys.byteorder) for n in (7, 2, 32))
    raw = head + b"LABEL".ljust(40, b"\0") + b"r" * 32 + b"s" * 48 + bytes([abi.SECRET])
    assert len(raw) % 4 == 1
    assert abi.SecretMessage.parse(raw) == (7, 2, b"LABEL", b"r" * 32, b"s" * 32)


@pytest.mark.parametrize("kind", [abi.HELD, abi.HELD_SERVER_HELLO])
def test_a_packet_that_waits_is_read(kind: int) -> None:
    client_random = bytes(range(32))
    number = abi.connection_id(client_random)
    raw = b"b" * 64 + client_random[8:16] + bytes([kind])
    connection, is_server_hello, block = abi.HeldPacket.parse(raw)
    assert (connection, is_server_hello) == (number, kind == abi.HELD_SERVER_HELLO)
    assert block == b"b" * 64


@pytest.mark.parametrize("message", [abi.HelloMessage, abi.SecretMessage])
def test_other_lengths_are_refused(message: type[abi.HelloMessage]) -> None:
    with pytest.raises(TccapError, match="a message that is not known"):
        message.parse(b"\0" * 13)
