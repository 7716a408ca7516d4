"""Frames of many kinds, as they are on the wire, by name."""

import socket
import struct
import time

# No host has it, so no stack answers, and the order is the sender's.
NOBODY = bytes.fromhex("020000000999")
SENDER = bytes.fromhex("020000000901")
ARP, IPV4, IPV6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8
EXPERIMENT = 0x88B5  # "local experimental", IEEE 802
MTU_MAX = 65535


def ethernet(
    kind: int, payload: bytes, tags: tuple[tuple[int, int], ...] = ()
) -> bytes:
    """Return a frame; a tag is its protocol and its control information."""
    shim = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return NOBODY + SENDER + shim + struct.pack("!H", kind) + payload


def ipv4(
    payload: bytes, protocol: int = 17, fragment: int = 0, extra: bytes = b""
) -> bytes:
    """Return an IPv4 packet; ``fragment`` is flags and offset, ``extra`` options."""
    words = 5 + len(extra) // 4
    total = words * 4 + len(payload)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | words, 0, total, 7, fragment, 64, protocol, 0
    )
    head += socket.inet_aton("10.9.0.1") + socket.inet_aton("10.9.0.77") + extra
    total_sum = sum(struct.unpack(f"!{words * 2}H", head))
    while total_sum >> 16:
        total_sum = (total_sum & 0xFFFF) + (total_sum >> 16)
    return head[:10] + struct.pack("!H", 0xFFFF ^ total_sum) + head[12:] + payload


def ipv6(payload: bytes, next_header: int = 17) -> bytes:
    """Return an IPv6 packet; extension headers are part of the payload."""
    head = struct.pack("!IHBB", 0x60000000, len(payload), next_header, 64)
    addresses = (socket.inet_pton(socket.AF_INET6, a) for a in ("fd09::1", "fd09::77"))
    return head + b"".join(addresses) + payload


def udp(data: bytes) -> bytes:
    """Return a UDP datagram without a checksum."""
    return struct.pack("!HHHH", 4660, 22136, 8 + len(data), 0) + data


def _untagged() -> dict[str, bytes]:
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, 2, 1024, 0, 0)
    hop_by_hop = b"\x11\x00\x05\x02\x00\x00\x01\x00" + udp(b"hop by hop")
    routing = b"\x11\x02\x04\x00" + bytes(4) + bytes(16) + udp(b"routing")
    options = b"\x2c\x00\x01\x04" + bytes(4)  # destination options, then a fragment
    fragment6 = b"\x11\x00" + struct.pack("!HI", 1, 99)
    return {
        "arp": ethernet(ARP, bytes.fromhex("0001080006040001") + SENDER + bytes(14)),
        "ipv4 udp": ethernet(IPV4, ipv4(udp(b"plain"))),
        "ipv4 options": ethernet(
            IPV4, ipv4(udp(b"options"), extra=b"\x94\x04" + bytes(2))
        ),
        "ipv4 tcp": ethernet(IPV4, ipv4(tcp, protocol=6)),
        "ipv4 icmp": ethernet(IPV4, ipv4(b"\x08\0\xf7\xff\0\0\0\0", protocol=1)),
        "ipv4 sctp": ethernet(IPV4, ipv4(bytes(12), protocol=132)),
        "ipv4 esp": ethernet(IPV4, ipv4(bytes(range(40)), protocol=50)),
        "ipv4 first fragment": ethernet(IPV4, ipv4(udp(bytes(64)), fragment=0x2000)),
        "ipv4 last fragment": ethernet(IPV4, ipv4(b"the end", fragment=9)),
        "ipv4 bad length": ethernet(IPV4, b"\x4f\x00\xff\xff" + bytes(16)),
        "ipv6 udp": ethernet(IPV6, ipv6(udp(b"plain six"))),
        "ipv6 hop by hop": ethernet(IPV6, ipv6(hop_by_hop, 0)),
        "ipv6 routing": ethernet(IPV6, ipv6(routing, 43)),
        "ipv6 first fragment": ethernet(
            IPV6, ipv6(options + fragment6 + udp(b"f"), 60)
        ),
        "ipv6 last fragment": ethernet(IPV6, ipv6(b"\x11\0\0\x08\0\0\0\x63end.", 44)),
        "ipv6 no next header": ethernet(IPV6, ipv6(b"", 59)),
        "lldp": ethernet(0x88CC, b"\x02\x07\x04" + SENDER + b"\x00\x00"),
        "pppoe discovery": ethernet(0x8863, b"\x11\x09\0\0\0\x04\x01\x01\0\0"),
        "mpls": ethernet(0x8847, b"\x00\x06\x41\x40" + ipv4(udp(b"mpls"))),
        "llc": ethernet(38, b"\x42\x42\x03" + bytes(35)),
    }


def _tagged() -> dict[str, bytes]:
    plain = ipv4(udp(b"in a vlan"))
    return {
        "vlan": ethernet(IPV4, plain, tags=((VLAN, 7),)),
        "vlan priority": ethernet(IPV4, plain, tags=((VLAN, 0xF123),)),
        "vlan zero": ethernet(IPV4, plain, tags=((VLAN, 0),)),
        "vlan highest": ethernet(ARP, bytes(28), tags=((VLAN, 0x0FFF),)),
        "service tag": ethernet(IPV6, ipv6(udp(b"s")), tags=((QINQ, 5),)),
        "qinq": ethernet(IPV4, plain, tags=((QINQ, 100), (VLAN, 200))),
        "two vlans": ethernet(IPV4, plain, tags=((VLAN, 1), (VLAN, 2))),
        "three tags": ethernet(IPV4, plain, tags=((QINQ, 1), (QINQ, 2), (VLAN, 3))),
        "vlan smallest": ethernet(EXPERIMENT, b"\x01\x02", tags=((VLAN, 9),)),
        "vlan largest": ethernet(EXPERIMENT, b"\x5a" * MTU_MAX, tags=((VLAN, 10),)),
    }


def _of_each_length() -> dict[str, bytes]:
    return {
        "smallest": ethernet(EXPERIMENT, b""),
        "one byte": ethernet(EXPERIMENT, b"\xff"),
        "two bytes": ethernet(EXPERIMENT, b"\xff\xff"),
        "three bytes": ethernet(EXPERIMENT, b"\xff\xff\xff"),
        "sixty": ethernet(EXPERIMENT, bytes(range(46))),
        "1500": ethernet(EXPERIMENT, b"\xa5" * 1500),
        "largest": ethernet(EXPERIMENT, (bytes(range(251)) * 262)[:MTU_MAX]),
    }


CATALOGUE = _untagged() | _tagged() | _of_each_length()


def marker() -> bytes:
    """Return bytes that are in no other packet."""
    return b"tccap-test-mark-%d" % time.monotonic_ns()
