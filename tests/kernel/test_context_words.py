"""Words of a filter about the frame's way, and `ip broadcast`."""

import socket

import pytest

from support import frames, netns, running, stream

BROADCAST = "10.9.0.255"
PACKETS = {b"there", b"back", b"local", b"to all"}
OTHER_WORDS = {
    "outbound": {b"back", b"to all"},
    "not inbound": {b"back", b"to all"},
    "inbound and host 10.9.0.2": {b"there"},
    "ifindex 1": {b"local"},
}


def _captured(
    pair: netns.Pair, text: str, device: str = "veth0", label: str = "off"
) -> stream.Stream:
    """Capture with a filter while packets go both ways and by lo."""
    texts = (f"({text}) or udp port 7",)
    with running.engine(pair.near, device, filters=texts, label=label) as engine:
        _say(pair.far, pair.near_address, b"there")
        _say(pair.near, pair.far_address, b"back")
        _say(pair.near, "127.0.0.1", b"local")
        _say(pair.near, BROADCAST, b"to all")
        mark = frames.marker()
        _say(pair.near, pair.far_address, mark, port=7)
        return engine.stop_after(mark)


def _say(
    space: netns.Namespace, address: str, text: bytes, port: int = netns.DISCARD_PORT
) -> None:
    with space.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(text, (address, port))


def _texts(found: stream.Stream) -> set[bytes]:
    """Return which of the packets were captured; the mark has an answer of ICMP."""
    return {f.data[42:].rstrip(b"\0") for f in found.frames} & PACKETS


WITH_PROCESSES = " and (not pid 1 or udp)"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("", id=""),
        pytest.param(WITH_PROCESSES, id="pid", marks=pytest.mark.full_matrix),
    ],
)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inbound", {b"there", b"local"}),
        *(
            pytest.param(text, expected, marks=pytest.mark.same_everywhere)
            for text, expected in OTHER_WORDS.items()
        ),
    ],
)
def test_the_way_of_a_frame(
    pair: netns.Pair, text: str, expected: set[bytes], more: str
) -> None:
    label = "short" if more else "off"
    assert _texts(_captured(pair, text + more, "any", label=label)) == expected


def test_broadcasts_of_the_network_of_the_device(pair: netns.Pair) -> None:
    assert _texts(_captured(pair, "ip broadcast")) == {b"to all"}


def test_all_devices_have_no_netmask(pair: netns.Pair) -> None:
    with (
        pytest.raises(AssertionError, match="netmask not known"),
        running.engine(pair.near, "any", filters=("ip broadcast",)),
    ):
        pass
