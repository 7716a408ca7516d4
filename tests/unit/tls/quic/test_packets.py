"""Packets with long headers, one or several in a datagram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import quicpackets
from support.quicpackets import V1, V2
from tccap.tls.quic.packets import PACKETS_MAX, Kind, long_packets

ORIGIN = b"origin78"


@pytest.mark.parametrize("version", [V1, V2])
def test_coalesced_packets(version: int) -> None:
    parts = [
        quicpackets.initial(b"\x01" * 30, origin=ORIGIN, version=version, token=b"t"),
        quicpackets.long_packet(1, b"early data", version=version),
        quicpackets.long_packet(2, b"handshake", version=version),
    ]
    short = b"\x41" + bytes(30)
    found = [*long_packets(b"".join(parts) + short)]
    assert [packet.content for packet in found] == parts
    assert [packet.kind for packet in found] == [
        *(Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE)
    ]
    assert found[0].destination == ORIGIN


@pytest.mark.parametrize("version", [V1, V2])
def test_a_retry_takes_the_rest(version: int) -> None:
    packet = quicpackets.retry(b"new", version=version)
    [found] = long_packets(packet)
    assert (found.kind, found.content) == (Kind.RETRY, packet)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xc0",
        b"\x40" + bytes(1200),
        quicpackets.version_negotiation(),
        # An id of 21 bytes, which version 1 does not allow.
        b"\xc0\0\0\0\x01\x15" + bytes(1200),
        quicpackets.long_packet(2, b"handshake")[:-1],
    ],
)
def test_others_are_not_read(datagram: bytes) -> None:
    assert [*long_packets(datagram)] == []


def test_no_more_packets_of_a_datagram_are_read_than_an_end_sends_at_once() -> None:
    smallest = quicpackets.long_packet(2, b"")
    assert len([*long_packets(smallest * (1 << 16))]) == PACKETS_MAX


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(datagram: bytes) -> None:
    for version in (b"", b"\xc0\0\0\0\x01", b"\xd0\x6b\x33\x43\xcf"):
        found = [*long_packets(version + datagram)]
        assert (
            b"".join(each.content for each in found)
            == (version + datagram)[: sum(len(each.content) for each in found)]
        )
