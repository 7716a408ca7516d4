"""The packets of a capture file: their two ends, and their labels."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from support import stream

ICMP, TCP, UDP, FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
COMMENT, PROCESS_THREAD, NAME = 1, 8, 2
_TERM = re.compile(r'(\w+)=("[^"]*"|[^ ]*)(?: |$)')


class Ends(NamedTuple):
    """Sender and receiver of a packet: ports, or an echo identifier twice."""

    protocol: str
    sender: int
    receiver: int
    reply: bool = False  # an ICMP echo reply, or an error: only a receiver


@dataclass(frozen=True)
class Packet:
    """A packet of the capture."""

    device: str
    time_ns: int
    data: bytes
    ends: Ends | None  # None: of no protocol that cases use
    label: dict[str, str]
    thread: tuple[int, int] | None  # EPB option 8: pid and tid


def read(capture: bytes) -> Iterator[Packet]:
    """Give the packets of a pcapng file."""
    devices: list[str] = []
    fragments: dict[bytes, Ends | None] = {}
    for kind, body in stream.blocks(capture):
        if kind == stream.IDB:
            devices.append(stream._options(body[8:])[NAME].decode())
        elif kind == stream.EPB:
            yield _packet(body, devices, fragments)


def _packet(
    body: bytes, devices: list[str], fragments: dict[bytes, Ends | None]
) -> Packet:
    interface, high, low, captured, _ = struct.unpack_from("=IIIII", body)
    data = body[20 : 20 + captured]
    options = stream._options(body[20 + -(-captured // 4) * 4 :])
    thread = options.get(PROCESS_THREAD)
    return Packet(
        device=devices[interface],
        time_ns=high << 32 | low,
        data=data,
        ends=_ends_of_frame(data, fragments),
        label=parse_label(options.get(COMMENT, b"").decode("ascii")),
        thread=struct.unpack("=II", thread) if thread else None,
    )


def parse_label(text: str) -> dict[str, str]:
    """Read ``key=value`` terms; a quoted value is given as its bytes are."""
    terms = {}
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        assert match, f"not a label: {text!r}"
        terms[match[1]] = _unquoted(match[2])
        at = match.end()
    return terms


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), value[1:-1])


def _ends_of_frame(data: bytes, fragments: dict[bytes, Ends | None]) -> Ends | None:
    kind = int.from_bytes(data[12:14], "big")
    if kind == 0x0800:
        return _ends_of_ipv4(data[14:], fragments)
    return _ends_of_ipv6(data[14:]) if kind == 0x86DD else None


def _ends_of_ipv4(packet: bytes, fragments: dict[bytes, Ends | None]) -> Ends | None:
    fragment = int.from_bytes(packet[6:8], "big")
    datagram = packet[4:6] + packet[9:10] + packet[12:20]
    if fragment & 0x1FFF:
        return fragments.get(datagram)
    ends = _ends(packet[9], packet[(packet[0] & 15) * 4 :])
    if fragment & 0x2000:
        fragments[datagram] = ends
    return ends


def _ends_of_ipv6(packet: bytes) -> Ends | None:
    if packet[6] == FRAGMENT:
        return _ends(packet[40], packet[48:])
    return _ends(packet[6], packet[40:])


def _ends(protocol: int, rest: bytes) -> Ends | None:
    if protocol in (TCP, UDP):
        name = {TCP: "tcp", UDP: "udp"}[protocol]
        return Ends(name, *struct.unpack_from(">HH", rest))
    if protocol in (ICMP, ICMPV6):
        return _ends_of_icmp(protocol, rest)
    return None


def _ends_of_icmp(protocol: int, rest: bytes) -> Ends | None:
    kind, identifier = struct.unpack_from(">B3xH", rest)
    if kind in ((8, 0) if protocol == ICMP else (128, 129)):
        return Ends("icmp", identifier, identifier, reply=kind in (0, 129))
    if kind not in ((3, 11, 12) if protocol == ICMP else (1, 2, 3, 4)):
        return None
    # An error goes to the sender of the packet that it quotes.
    inner = _ends_of_ipv4(rest[8:], {}) if protocol == ICMP else _ends_of_ipv6(rest[8:])
    if inner is None:
        return None
    return Ends(inner.protocol, inner.receiver, inner.sender, reply=True)
