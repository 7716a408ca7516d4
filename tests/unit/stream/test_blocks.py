"""Blocks around the packets: their bytes, and what python-pcapng reads back."""

import io
import re
import struct
import tracemalloc
from ipaddress import IPv4Interface, IPv6Interface

import pcapng
import pytest

from support import stream
from tccap.stream import blocks, linktypes
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Interface, Section

ETH0 = Interface(
    name="eth0",
    description="a device",
    linktype=1,
    snaplen=262144,
    mac=bytes.fromhex("020000000901"),
    ipv4=(IPv4Interface("10.9.0.1/24"), IPv4Interface("192.0.2.1/32")),
    ipv6=(IPv6Interface("fe80::1/64"), IPv6Interface("2001:db8::1/128")),
    speed_bps=10_000_000_000,
    filter="tcp port 80",
)
# python-pcapng writes if_IPv6addr and fails on reading it.
FOUR = ETH0._replace(ipv6=())
BARE = Interface("tun0", "", linktypes.RAW_IP.linktype, 96, b"", (), (), 0, "")

# Written down by hand from the specification, sections 4.1, 4.2 and 4.6: pairs
# of hexadecimal digits, and texts in quotes.
SHB = """
    0a0d0d0a 4c000000 4d3c2b1a 01000000 ffffffffffffffff
    0200 0600 'x86_64' 0000
    0300 0900 'Linux 6.1' 000000
    0400 0b00 'tccap 0.0.0' 00
    00000000 4c000000
"""
IDB = """
    01000000 b4000000 0100 0000 00000400
    0200 0400 'eth0'
    0300 0800 'a device'
    0400 0800 0a090001 ffffff00
    0400 0800 c0000201 ffffffff
    0500 1100 fe800000000000000000000000000001 40 000000
    0500 1100 20010db8000000000000000000000001 80 000000
    0600 0600 020000000901 0000
    0800 0800 00e40b5402000000
    0900 0100 09 000000
    0b00 0c00 00 'tcp port 80'
    0c00 0900 'Linux 6.1' 000000
    00000000 b4000000
"""
ISB = """
    05000000 58000000 00000000 78563412 f0debc9a
    0400 0800 0a00000000000000
    0500 0800 0100000000000000
    0600 0800 0700000000000000
    0700 0800 0000000000000000
    0800 0800 0600000000000000
    00000000 58000000
"""


def _bytes(text: str) -> bytes:
    return bytes.fromhex(
        re.sub("'(.*?)'", lambda quoted: quoted[1].encode().hex(), text)
    )


@pytest.fixture
def section(monkeypatch: pytest.MonkeyPatch) -> Section:
    monkeypatch.setattr(blocks, "__version__", "0.0.0")
    return Section("Linux 6.1", "x86_64")


def test_section_header(section: Section) -> None:
    assert section.header.hex() == _bytes(SHB).hex()


def test_interface_description(section: Section) -> None:
    number, block = section.describe(ETH0)
    assert number == 0
    assert block.hex() == _bytes(IDB).hex()


def test_interface_statistics(section: Section) -> None:
    section.describe(ETH0)
    block = section.statistics(
        0,
        0x123456789ABCDEF0,
        Statistics(received=10, accepted=7, dropped=1, unattributed=2),
    )
    assert block.hex() == _bytes(ISB).hex()


def test_interfaces_that_another_process_has_described_are_counted(
    section: Section,
) -> None:
    counts = (10, Statistics(received=10, accepted=7, dropped=1, unattributed=2))
    section.describe(ETH0)
    expected = section.statistics(0, *counts)
    elsewhere = Section("", "")
    elsewhere.count_interface()
    assert elsewhere.statistics(0, *counts) == expected


def test_interfaces_that_are_described_take_no_memory(section: Section) -> None:
    """Containers come and go: there may be 4,096 in a capture."""
    section.describe(ETH0)
    tracemalloc.start()
    for _ in range(100):
        section.describe(ETH0)
        section.count_interface()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 200 * 1000


def test_pcapng_reads_it_back(section: Section) -> None:
    numbered = [section.describe(i) for i in (FOUR, BARE, FOUR)]
    assert [number for number, _ in numbered] == [0, 1, 2]
    counts = section.statistics(1, 5_000_000_000, Statistics(3, 2, 1, 0))
    whole = section.header + b"".join(block for _, block in numbered) + counts
    read = list(pcapng.FileScanner(io.BytesIO(whole)))
    assert len(read) == 5
    eth0, bare = read[1], read[2]
    assert eth0.link_type == 1
    assert eth0.options["if_name"] == "eth0"
    assert eth0.options.get_all("if_IPv4addr")[1] == ("192.0.2.1", "255.255.255.255")
    assert eth0.options["if_MACaddr"] == "02:00:00:00:09:01"
    assert eth0.options["if_speed"] == 10_000_000_000
    assert (bare.link_type, bare.snaplen) == (101, 96)
    assert "if_MACaddr" not in bare.options
    assert "if_speed" not in bare.options
    assert "if_filter" not in bare.options
    assert read[4].interface_id == 1
    assert read[4].options["isb_ifdrop"] == 1
    assert read[4].timestamp == pytest.approx(5.0)
    found = stream.parse(whole)
    assert [interface.name for interface in found.interfaces] == [
        "eth0",
        "tun0",
        "eth0",
    ]
    assert found.counts == {1: stream.Counts(received=3, accepted=2, dropped=1)}


def test_names_beyond_ascii(section: Section) -> None:
    _, block = section.describe(BARE._replace(name="réseau"))
    assert "réseau".encode() in block
    assert len(block) % 4 == 0


def _block(kind: int, length: int) -> bytes:
    return struct.pack("=II", kind, length).ljust(length, b"x")


def test_packets_are_counted_from_where_they_are_not_written() -> None:
    text = _block(6, 40) + _block(5, 24) + _block(6, 32)
    assert blocks.count_packets(b"") == 0
    assert [blocks.count_packets(memoryview(text), after=n) for n in (0, 39, 40)] == [
        *(2, 2, 1)
    ]
    assert blocks.count_packets(text, after=95) == 1
    assert blocks.count_packets(text, after=96) == 0
