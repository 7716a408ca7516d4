"""Packets of which only the Ethernet header is linear: the rest is read, too."""

import socket
import struct
from pathlib import Path

import pytest

from support import frames, netns
from truth import packets, run
from truth.workers import Script, Worker, kill_all

# include/uapi/linux/if_packet.h
SOL_PACKET, PACKET_VNET_HDR = 263, 15
ETHERNET_LEN = 14
# Receivers of the packets that frames.ipv4, frames.ipv6 and frames.udp make
ADDRESSES = {4: "10.9.0.77", 6: "fd09::77"}
PORT = 22136
SMALL, PAGED = 250, 5000  # below a page, all of it is linear anyway


def _receiver(version: int) -> Script:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((ADDRESSES[version], PORT))
        yield
        yield


def _frame(version: int, length: int) -> bytes:
    datagram = frames.udp(bytes(range(250)) * (length // 250))
    if version == 4:
        return frames.ethernet(frames.IPV4, frames.ipv4(datagram))
    return frames.ethernet(frames.IPV6, frames.ipv6(datagram))


def _send(space: netns.Namespace, frame: bytes) -> None:
    """Send a frame whose linear part, in the kernel, is its Ethernet header."""
    with space.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sock:
        sock.bind(("lo", 0))
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        # struct virtio_net_hdr: no offloads, and the length of the headers
        sock.send(struct.pack("=BBHHHH", 0, 0, ETHERNET_LEN, 0, 0, 0) + frame)


@pytest.mark.parametrize(
    ("version", "length"),
    [
        (4, PAGED),
        (6, SMALL),
        pytest.param(4, SMALL, marks=pytest.mark.full_matrix),
        pytest.param(6, PAGED, marks=pytest.mark.full_matrix),
    ],
)
def test_the_receiver_is_found(
    space: netns.Namespace, tmp_path: Path, version: int, length: int
) -> None:
    space.ip("address", "add", ADDRESSES[version], "dev", "lo")
    frame, file = _frame(version, length), tmp_path / "capture"
    with space.entered():
        receiver = Worker(_receiver(version))
    receiver.step()
    with run.capture(space, file):
        _send(space, frame)
    pid = str(receiver.pid)
    kill_all()
    seen = packets.read(file.with_suffix(".pcapng").read_bytes())
    (label,) = [p.label for p in seen if p.data == frame]
    # The sender is here, and not known: an AF_PACKET socket.
    assert label["peer_pid"] == pid
    assert all(key.startswith("peer_") for key in label)
