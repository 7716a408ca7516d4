"""Real sockets' packets: whole super-packets, as tcpdump sees them."""

import socket
import threading
from collections import Counter

import pytest

from support import frames, netns, running, stream
from support.flood import UDP_SEGMENT

BULK_LEN = 2_000_000
MTU = 1500
SUPER = bytes(range(250)) * 240


def _bulk(sender: socket.socket, receiver: socket.socket) -> None:
    """Send a lot in one direction over two connected sockets."""
    writer = threading.Thread(target=sender.sendall, args=(bytes(BULK_LEN),))
    writer.start()
    left = BULK_LEN
    while left:
        left -= len(receiver.recv(left))
    writer.join()


def _say(
    space: netns.Namespace, address: str, text: bytes, segment_len: int = 0
) -> None:
    with space.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment_len)
        sock.sendto(text, (address, 9))


@pytest.fixture(scope="module")
def tcp(without_tcx: bool) -> tuple[stream.Stream, list[bytes]]:
    """A connection through veth0, with much data in both directions."""
    with (
        netns.pair() as pair,
        running.engine(pair.near, "any", without_tcx=without_tcx) as engine,
        running.tcpdump(pair.near, "veth0") as tcpdump,
    ):
        with pair.far.entered():
            server = socket.create_server((pair.far_address, 0))
        with pair.near.entered():
            near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with server, near, far:
            _bulk(near, far)
            _bulk(far, near)
        for address in (pair.far_address, "127.0.0.1"):
            _say(pair.near, address, SUPER, segment_len=1400)
        mark = frames.marker()
        _say(pair.near, pair.far_address, mark)
        theirs = tcpdump.stop_after(mark)
        return engine.stop_after(mark), theirs


def test_bulk_is_the_same_as_in_tcpdump(tcp: tuple[stream.Stream, list[bytes]]) -> None:
    ours, theirs = tcp
    # Two directions on two CPUs: each observer has its own order.
    seen, expected = Counter(f.data for f in ours.of("veth0")), Counter(theirs)
    # With older veth devices the kernel segments it, between tccap and tcpdump.
    if not any(frame.endswith(SUPER) for frame in theirs):
        seen = Counter(frame for frame in seen.elements() if not _is_of_super(frame))
        expected = Counter(frame for frame in theirs if not _is_of_super(frame))
    assert seen == expected


def _is_of_super(frame: bytes) -> bool:
    """Return whether the frame holds that datagram, or a fragment of it."""
    payload = frame[14 + 20 + 8 :]
    return len(payload) > 1000 and payload in SUPER


@pytest.mark.parametrize("direction", [stream.OUTBOUND, stream.INBOUND])
def test_super_packets_are_whole(
    tcp: tuple[stream.Stream, list[bytes]], direction: int
) -> None:
    sizes = [
        len(frame.data) for frame in tcp[0].of("veth0") if frame.direction == direction
    ]
    assert max(sizes) > 4 * MTU  # TCP decides how large they get
    assert sum(sizes) > BULK_LEN


@pytest.mark.parametrize("device", ["veth0", "lo"])
def test_udp_segmentation_is_one_frame(
    tcp: tuple[stream.Stream, list[bytes]], device: str
) -> None:
    sent = [f for f in tcp[0].of(device) if f.data.endswith(SUPER)]
    assert len(sent) == 1
    assert len(sent[0].data) == sent[0].original_len == 14 + 20 + 8 + len(SUPER)
