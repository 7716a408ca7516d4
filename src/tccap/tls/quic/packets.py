"""The packets of a UDP datagram that have long headers (RFC 9000, section 17.2)."""

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from tccap.tls.quic.keys import V1, V2
from tccap.tls.quic.reader import Reader, TruncatedError

_LONG, _KIND_SHIFT = 0x80, 4
_ID_LEN_MAX: Final = 20
# What one end sends at once before it has to wait; others of a datagram are not read.
PACKETS_MAX: Final = 16


class Kind(IntEnum):
    """What a packet is for: its type in version 1."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3


# What version 2 adds to the types (RFC 9369, section 3.2).
_SHIFTS: Final = {V1: 0, V2: 1}


class Packet(NamedTuple):
    """A packet with a long header."""

    kind: Kind
    version: int
    destination: bytes  # a connection id
    number_at: int  # where its number begins; 0: it has none
    content: bytes


def long_packets(datagram: bytes) -> Iterator[Packet]:
    """Return the first packets of a datagram, as far as they have long headers."""
    at = 0
    with contextlib.suppress(TruncatedError):
        for _ in range(PACKETS_MAX):
            if not (packet := _packet(datagram, at)):
                return
            yield packet
            at += len(packet.content)


def _packet(datagram: bytes, start: int) -> Packet | None:
    """Return the packet there; None if it is of another form or version."""
    reader = Reader(datagram, start)
    if not reader.rest_len:
        return None
    first = reader.byte()
    version = int.from_bytes(reader.take(4), "big")
    if not first & _LONG or version not in _SHIFTS:
        return None
    kind = Kind((first >> _KIND_SHIFT) - _SHIFTS[version] & 3)
    destination = reader.take(_id_len(reader))
    reader.take(_id_len(reader))
    if kind == Kind.RETRY:
        return Packet(kind, version, destination, 0, datagram[start:])
    if kind == Kind.INITIAL:
        reader.take(reader.varint())  # the token
    length = reader.varint()
    number_at = reader.at
    reader.take(length)
    content = datagram[start : reader.at]
    return Packet(kind, version, destination, number_at - start, content)


def _id_len(reader: Reader) -> int:
    length = reader.byte()
    if length > _ID_LEN_MAX:
        raise TruncatedError
    return length
