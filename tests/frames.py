"""Frames for filters: built layer by layer, then mutated and cut.

Deterministic for a seed. Addresses, ports and tags come from small pools, so
that the expressions of `expressions.py` match some frames and miss others.
"""

import random
import struct
from collections.abc import Callable, Iterator

MACS = [
    bytes.fromhex("020000000001"),
    bytes.fromhex("020000000002"),
    bytes.fromhex("ffffffffffff"),
    bytes.fromhex("01005e000001"),
    bytes.fromhex("0180c2000000"),
    bytes.fromhex("333300000001"),
]
IPV4 = [bytes([10, 0, 0, n]) for n in range(1, 8)] + [
    bytes([10, 0, 1, 30]),
    bytes([192, 168, 3, 4]),
    bytes([224, 0, 0, 1]),
]
IPV6 = [bytes.fromhex("20010db8") + bytes(11) + bytes([n]) for n in (1, 2, 5, 9)]
IPV6.append(bytes.fromhex("ff02") + bytes(13) + b"\x01")
PORTS = [1, 53, 80, 443, 444, 8080, 57, 60000]
# Minimum of BPF_PROG_TEST_RUN is 14, but kernels differ on an empty payload.
MIN_LEN = 15
MAX_LEN = 2000


class Builder:
    """Makes random frames; every method returns a whole layer as bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def payload(self, most: int) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 8, most)))

    # --- transport ----------------------------------------------------------

    def _ports(self) -> bytes:
        return struct.pack(">HH", self.random.choice(PORTS), self.random.choice(PORTS))

    def tcp(self) -> bytes:
        options = self.random.choice((0, 0, 4, 12))
        flags = self.random.choice((2, 16, 18, 17, 4, 24))
        payload = self.random.choice(
            (b"", b"GET / HTTP/1.1", b"\x16\x03\x01", bytes(40))
        )
        head = struct.pack(
            ">IIBBHHH",
            self.random.getrandbits(32),
            9,
            (5 + options // 4) << 4,
            flags,
            500,
            0,
            0,
        )
        return self._ports() + head + bytes(options) + payload

    def udp(self) -> bytes:
        payload = self.payload(120)
        return self._ports() + struct.pack(">HH", 8 + len(payload), 0) + payload

    def geneve(self) -> bytes:
        options = self.random.choice((0, 8))
        inner, kind = self.random.choice(
            ((self.ipv4(0), 0x0800), (self.ethernet(0), 0x6558), (self.ipv6(0), 0x86DD))
        )
        vni = self.random.choice((11, 12))
        head = struct.pack(">BBHI", options // 4, 0, kind, vni << 8) + bytes(options)
        ports = struct.pack(">HHHH", 5000, 6081, 16 + len(inner), 0)
        return ports + head + inner

    def sctp(self) -> bytes:
        return (
            self._ports() + bytes(8) + bytes([self.random.choice((0, 1, 3))]) + bytes(9)
        )

    def icmp(self) -> bytes:
        kind = self.random.choice((0, 3, 8, 11))
        return bytes([kind, self.random.choice((0, 1))]) + bytes(6) + self.payload(30)

    def icmp6(self) -> bytes:
        return (
            bytes([self.random.choice((128, 129, 133, 135)), 0])
            + bytes(6)
            + self.payload(30)
        )

    def igmp(self) -> bytes:
        return bytes([self.random.choice((0x11, 0x16, 0x22)), 0]) + bytes(6)

    def _transport(self, depth: int) -> tuple[int, bytes]:
        """Return a protocol number and the header that it announces."""
        kinds: list[tuple[int, Callable[[], bytes]]] = [
            (6, self.tcp),
            (6, self.tcp),
            (17, self.udp),
            (132, self.sctp),
            (1, self.icmp),
            (58, self.icmp6),
            (2, self.igmp),
            (self.random.choice((9, 50, 89, 103, 112, 51)), lambda: self.payload(40)),
        ]
        if depth:
            kinds.append((17, self.geneve))
        number, make = self.random.choice(kinds)
        return number, make()

    # --- network --------------------------------------------------------------

    def ipv4(self, depth: int = 1) -> bytes:
        number, payload = self._transport(depth)
        if self.random.random() < 0.15:
            payload = self._authenticated(number, payload, 8)
            number = 51
        options = self.random.choice((0, 0, 0, 4, 40))
        fragment = self.random.choice((0, 0, 0, 0x4000, 0x2000, 0x2010, 0x0010))
        head = struct.pack(
            ">BBHHHBBH",
            0x40 | (5 + options // 4),
            0,
            20 + options + len(payload),
            self.random.getrandbits(16),
            fragment,
            self.random.choice((0, 1, 64, 255)),
            number,
            self.random.getrandbits(16),
        )
        addresses = self.random.choice(IPV4) + self.random.choice(IPV4)
        return head + addresses + bytes(options) + payload

    def _authenticated(self, number: int, payload: bytes, more: int) -> bytes:
        return bytes([number, (12 + more) // 4 - 2]) + bytes(10 + more) + payload

    def ipv6(self, depth: int = 1) -> bytes:
        number, payload = self._transport(depth)
        for _ in range(self.random.choice((0, 0, 1, 2, 4))):
            number, payload = self._extended(number, payload)
        head = struct.pack(">IHBB", 6 << 28, len(payload), number, 64)
        addresses = self.random.choice(IPV6) + self.random.choice(IPV6)
        return head + addresses + payload

    def _extended(self, number: int, payload: bytes) -> tuple[int, bytes]:
        kind = self.random.choice((0, 43, 44, 51, 60))
        if kind == 51:
            return kind, self._authenticated(number, payload, 4)
        if kind == 44:
            return kind, bytes([number, 0]) + bytes(6) + payload
        more = self.random.choice((0, 1, 3))
        return kind, bytes([number, more]) + bytes(6 + 8 * more) + payload

    # --- link -----------------------------------------------------------------

    def arp(self) -> bytes:
        head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, self.random.choice((1, 2)))
        return head + b"".join(
            self.random.choice(pool) for pool in (MACS, IPV4, MACS, IPV4)
        )

    def llc(self) -> bytes:
        """An 802.2 header: STP, ISO, NetBEUI, SNAP, or any control field."""
        sap = self.random.choice(
            (b"\x42\x42", b"\xfe\xfe", b"\xf0\xf0", b"\xaa\xaa", b"\xff\xff")
        )
        if sap == b"\xaa\xaa":
            oui = self.random.choice((bytes(3), b"\x08\x00\x07"))
            kind = self.random.choice((0x0800, 0x809B, 0x8137))
            return sap + b"\x03" + oui + struct.pack(">H", kind) + self.ipv4(0)
        control = self.random.choice(
            (0x03, 0x73, 0x00, 0x01, 0x05, 0x09, 0x63, 0xE3, 0xAF, 0x87, 0x43)
        )
        nlpid = self.random.choice((0x81, 0x82, 0x83))
        return sap + bytes([control, nlpid]) + self.random.randbytes(30)

    def mpls(self) -> bytes:
        labels = [100, 200, 1024][: self.random.choice((1, 1, 2))]
        stack = b"".join(
            struct.pack(">I", label << 12 | (label == labels[-1]) << 8 | 64)
            for label in labels
        )
        return stack + self.random.choice((self.ipv4, self.ipv6))()

    def pppoe(self) -> bytes:
        number, make = self.random.choice(((0x0021, self.ipv4), (0x0057, self.ipv6)))
        inner = struct.pack(">H", number) + make()
        return (
            struct.pack(">BBHH", 0x11, 0, self.random.choice((7, 8)), len(inner))
            + inner
        )

    def vlan(self, depth: int) -> bytes:
        tag = struct.pack(">H", self.random.choice((5, 6, 0x2005)))
        return tag + self._typed(depth)

    def _typed(self, depth: int) -> bytes:
        """Return an EtherType (or a length) and the packet that it announces."""
        kinds: list[tuple[int, Callable[[], bytes]]] = [
            (0x0800, self.ipv4),
            (0x0800, self.ipv4),
            (0x0800, self.ipv4),
            (0x86DD, self.ipv6),
            (0x86DD, self.ipv6),
            (0x0806, self.arp),
            (0x8035, self.arp),
            (0x8847, self.mpls),
            (0x8864, self.pppoe),
            (
                self.random.choice(
                    (0x8863, 0x88CC, 0x80F3, 0x809B, 0x6003, 0x8137, 0x6004)
                ),
                lambda: self.payload(50),
            ),
        ]
        if depth:
            tag = self.random.choice((0x8100, 0x88A8, 0x9100))
            kinds += [(tag, lambda: self.vlan(depth - 1))] * 3
        if self.random.random() < 0.08:
            inner = self.llc()
            return struct.pack(">H", min(len(inner), 1500)) + inner
        number, make = self.random.choice(kinds)
        return struct.pack(">H", number) + make()

    def ethernet(self, depth: int = 2) -> bytes:
        return self.random.choice(MACS) + self.random.choice(MACS) + self._typed(depth)

    # --- damage ---------------------------------------------------------------

    def damaged(self, frame: bytes) -> bytes:
        """Return the frame with some bytes or bits changed."""
        changed = bytearray(frame)
        for _ in range(self.random.choice((1, 2, 6))):
            # The headers matter, so most damage is there.
            at = self.random.randrange(
                self.random.choice((len(changed), min(70, len(changed))))
            )
            changed[at] = self.random.choice(
                (0, 0xFF, changed[at] ^ 1 << self.random.randrange(8))
            )
        return bytes(changed)

    def cut(self, frame: bytes) -> bytes:
        """Return the frame's beginning."""
        return frame[: self.random.randint(1, len(frame))]

    def frames(self, make: Callable[[], bytes]) -> Iterator[bytes]:
        """Yield frames for ever: half of them whole, others cut, damaged or padded."""
        while True:
            frame = make()
            yield self.random.choice(
                (
                    frame,
                    frame,
                    frame,
                    self.cut(frame),
                    self.damaged(frame),
                    frame + bytes(1400),
                )
            )

    def ip(self) -> bytes:
        return self.random.choice((self.ipv4, self.ipv6))()


def ethernet_frames(count: int, seed: int = 7) -> list[bytes]:
    """Return frames as on an Ethernet device."""
    builder = Builder(seed)
    return _take(count, builder.frames(builder.ethernet), MIN_LEN)


def raw_frames(count: int, seed: int = 8) -> list[bytes]:
    """Return packets as on a device without a link-layer header."""
    builder = Builder(seed)
    return _take(count, builder.frames(builder.ip), 1)


def _take(count: int, frames: Iterator[bytes], least: int) -> list[bytes]:
    wanted: list[bytes] = []
    while len(wanted) < count:
        frame = next(frames)[:MAX_LEN]
        if len(frame) >= least:
            wanted.append(frame)
    return wanted
