"""Frames from another host: they come in by a tap device, and no process sends them."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from support.netns import IFF_NO_PI, IFF_TAP, TUNSETIFF
from truth.network import ELSEWHERES_MAC, UPLINK, UPLINK_ADDRESS, UPLINK_MAC
from truth.packets import ELSEWHERE, VLAN

SYN, RST = 2, 4
IP = b"\x08\x00"


class Host:
    """The other host."""

    def __init__(self, fd: int, station: str = UPLINK_MAC) -> None:
        """Send frames to a station's address."""
        self._fd = fd
        self._ethernet = bytes.fromhex((station + ELSEWHERES_MAC).replace(":", ""))

    def send_datagram(
        self,
        source: int,
        port: int,
        data: bytes,
        to: str = UPLINK_ADDRESS,
        source_address: str = ELSEWHERE,
    ) -> None:
        """Send UDP."""
        payload = datagram(source, port, data)
        packet = ipv4(socket.IPPROTO_UDP, (source_address, to), payload)
        os.write(self._fd, self._ethernet + IP + packet)

    def send_tagged(self, vlan: int, source: int, port: int, data: bytes) -> None:
        """Send UDP in a VLAN."""
        payload = datagram(source, port, data)
        packet = ipv4(socket.IPPROTO_UDP, (ELSEWHERE, UPLINK_ADDRESS), payload)
        tag = struct.pack(">HH", VLAN, vlan)
        os.write(self._fd, self._ethernet + tag + IP + packet)

    def send_datagram_by(
        self, options: bytes, source: int, port: int, data: bytes
    ) -> None:
        """Send UDP with options of IPv4, whose length is a multiple of four."""
        payload = datagram(source, port, data)
        ends = ELSEWHERE, UPLINK_ADDRESS
        packet = ipv4(socket.IPPROTO_UDP, ends, payload, options=options)
        os.write(self._fd, self._ethernet + IP + packet)

    def send_fragments(
        self, protocol: int, payload: bytes, identifier: int, order: int = 1
    ) -> None:
        """Send a packet in two fragments, of which the first has some 1,000 bytes.

        ``order`` -1: the other one first.
        """
        parts = ((0, payload[:1024], 1), (128, payload[1024:], 0))
        for at, part, more in parts[::order]:
            where = identifier, more << 13 | at
            packet = ipv4(protocol, (ELSEWHERE, UPLINK_ADDRESS), part, where)
            os.write(self._fd, self._ethernet + IP + packet)

    def send_segment(  # the fields of a segment
        self,
        source: int,
        port: int,
        flags: int,
        sequence: int,
        to: str = UPLINK_ADDRESS,
    ) -> None:
        """Send a TCP segment without data."""
        made = segment((ELSEWHERE, to), (source, port), flags, sequence)
        self._send(socket.IPPROTO_TCP, made, to)

    def receive(self, port: int) -> bytes:
        """Return the next packet to a port, without its Ethernet header."""
        while True:
            packet = os.read(self._fd, 2048)[14:]
            if packet[0] >> 4 == 4 and packet[22:24] == struct.pack(">H", port):
                return packet

    def _send(self, protocol: int, payload: bytes, to: str = UPLINK_ADDRESS) -> None:
        packet = ipv4(protocol, (ELSEWHERE, to), payload)
        os.write(self._fd, self._ethernet + IP + packet)


def ipv4(
    protocol: int,
    addresses: tuple[str, str],
    payload: bytes,
    fragment: tuple[int, int] = (0, 0),
    options: bytes = b"",
) -> bytes:
    """Return an IPv4 packet; ``fragment``: its identifier, and flags with offset."""
    ends = b"".join(map(socket.inet_aton, addresses)) + options
    words = 5 + len(options) // 4
    length = 4 * words + len(payload)
    fields = (0x40 | words, 0, length, *fragment, 64, protocol, 0)
    head = struct.pack(">BBHHHBBH", *fields)
    return head[:10] + checksum(head + ends) + ends + payload


def datagram(source: int, port: int, data: bytes) -> bytes:
    """Return a UDP datagram without a checksum."""
    return struct.pack(">HHHH", source, port, 8 + len(data), 0) + data


@contextmanager
def host(station: str = UPLINK_MAC) -> Iterator[Host]:
    """Yield the other host, which sends its frames to a station.

    The caller is in the captured namespace.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", UPLINK.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(fd, TUNSETIFF, request)
        yield Host(fd, station)
    finally:
        os.close(fd)


def segment(
    addresses: tuple[str, str], ports: tuple[int, int], flags: int, sequence: int
) -> bytes:
    """Return a TCP segment without data."""
    head = struct.pack(">HHIIBBHHH", *ports, sequence, 0, 5 << 4, flags, 1000, 0, 0)
    ends = b"".join(map(socket.inet_aton, addresses))
    pseudo = ends + struct.pack(">BBH", 0, socket.IPPROTO_TCP, len(head))
    return head[:16] + checksum(pseudo + head) + head[18:]


def checksum(data: bytes) -> bytes:
    """Return the checksum of IP."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
