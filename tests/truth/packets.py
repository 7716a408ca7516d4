"""The packets of a capture file: their two ends, and their labels."""

import re
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from support import stream

ICMP, TCP, UDP, FRAGMENT, ICMPV6, UDP_LITE = 1, 6, 17, 44, 58, 136
WITH_PORTS = {TCP: "tcp", UDP: "udp", UDP_LITE: "udplite"}
COMMENT, FLAGS, PROCESS_THREAD, NAME = 1, 2, 8, 2
ELSEWHERE = "10.82.0.2"  # the only address that is no process's of this host
VLAN = 0x8100
_TERM = re.compile(r'(\w+)=("[^"]*"|[^ ]*)(?: |$)')


Fragments = defaultdict[int, dict[bytes, "Ends | None"]]  # by device and datagram


class Ends(NamedTuple):
    """Sender and receiver of a packet: ports, or an echo identifier twice.

    For an ICMP error they are those of the packet that it quotes, reversed.
    """

    protocol: str
    sender: int
    receiver: int
    addresses: tuple[str, str]
    reply: bool = False  # an ICMP echo reply, or an error: only a receiver


@dataclass(frozen=True)
class Packet:
    """A packet of the capture."""

    device: str
    time_ns: int
    data: bytes
    ends: Ends | None  # None: the cases do not use the protocol
    label: dict[str, str]
    thread: tuple[int, int] | None  # EPB option 8: pid and tid
    direction: int = stream.INBOUND  # or OUTBOUND

    def is_from_here(self) -> bool:
        """Return whether a process or the kernel of this host has sent it."""
        source = self.data[26:30] if self.data[12:14] == b"\x08\x00" else b""
        return source != socket.inet_aton(ELSEWHERE)


def read(capture: bytes) -> Iterator[Packet]:
    """Yield the packets of a pcapng file."""
    devices: list[str] = []
    fragments: Fragments = defaultdict(dict)
    for kind, body in stream.blocks(capture):
        if kind == stream.IDB:
            devices.append(stream._options(body[8:])[NAME].decode())
        elif kind == stream.EPB:
            yield _packet(body, devices, fragments)


def _packet(body: bytes, devices: list[str], fragments: Fragments) -> Packet:
    interface, high, low, captured, _ = struct.unpack_from("=IIIII", body)
    data = body[20 : 20 + captured]
    options = stream._options(body[20 + -(-captured // 4) * 4 :])
    thread = options.get(PROCESS_THREAD)
    return Packet(
        device=devices[interface],
        time_ns=high << 32 | low,
        data=data,
        ends=_ends_of_frame(data, fragments[interface]),
        label=parse_label(options.get(COMMENT, b"").decode("ascii")),
        thread=struct.unpack("=II", thread) if thread else None,
        direction=int.from_bytes(options[FLAGS], "little"),
    )


def parse_label(text: str) -> dict[str, str]:
    """Read ``key=value`` terms; quotes and escapes are removed from the values."""
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
    if kind == VLAN:
        return _ends_of_frame(data[4:], fragments)
    if kind == 0x0800:
        return _ends_of_ipv4(data[14:], fragments)
    return _ends_of_ipv6(data[14:]) if kind == 0x86DD else None


def _ends_of_ipv4(packet: bytes, fragments: dict[bytes, Ends | None]) -> Ends | None:
    fragment = int.from_bytes(packet[6:8], "big")
    datagram = packet[4:6] + packet[9:10] + packet[12:20]
    addresses = _texts(socket.AF_INET, packet[12:16], packet[16:20])
    if fragment & 0x1FFF:
        nobodys = Ends("", 0, 0, addresses)
        is_last = not fragment & 0x2000
        take = fragments.pop if is_last else fragments.get
        return take(datagram, nobodys)
    ends = _ends(packet[9], packet[(packet[0] & 15) * 4 :], addresses)
    if fragment & 0x2000:
        fragments[datagram] = ends
    return ends


def _ends_of_ipv6(packet: bytes) -> Ends | None:
    addresses = _texts(socket.AF_INET6, packet[8:24], packet[24:40])
    if packet[6] == FRAGMENT:
        return _ends(packet[40], packet[48:], addresses)
    if packet[6] == socket.IPPROTO_ROUTING:
        return _ends(packet[40], packet[48 + 8 * packet[41] :], addresses)
    return _ends(packet[6], packet[40:], addresses)


def _texts(family: int, source: bytes, destination: bytes) -> tuple[str, str]:
    return socket.inet_ntop(family, source), socket.inet_ntop(family, destination)


def _ends(protocol: int, rest: bytes, addresses: tuple[str, str]) -> Ends | None:
    if protocol in WITH_PORTS:
        sender, receiver = struct.unpack_from(">HH", rest)
        return Ends(WITH_PORTS[protocol], sender, receiver, addresses)
    if protocol in (ICMP, ICMPV6):
        return _ends_of_icmp(protocol, rest, addresses)
    return None


def _ends_of_icmp(
    protocol: int, rest: bytes, addresses: tuple[str, str]
) -> Ends | None:
    kind, identifier = struct.unpack_from(">B3xH", rest)
    if kind in ((8, 0) if protocol == ICMP else (128, 129)):
        is_reply = kind in (0, 129)
        return Ends("icmp", identifier, identifier, addresses, is_reply)
    if kind not in ((3, 11, 12) if protocol == ICMP else (1, 2, 3, 4)):
        return None
    # An error goes to the sender of the packet that it quotes.
    inner = _ends_of_ipv4(rest[8:], {}) if protocol == ICMP else _ends_of_ipv6(rest[8:])
    if inner is None:
        return None
    return inner._replace(sender=inner.receiver, receiver=inner.sender, reply=True)
