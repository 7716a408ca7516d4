"""The user's options: how much of a frame, and which direction."""

import contextlib
import itertools
import os
import socket

import pytest

from support import frames, netns, running, stream

# Each makes the verifier check another program, which takes a minute in a VM.
SNAPLENS = (13,) if os.environ.get("TCCAP_VM") else (1, 13, 14, 15, 64)
LENGTHS = range(14, 68)
DIRECTIONS = {"in": {stream.INBOUND}, "out": {stream.OUTBOUND}}
DIRECTIONS["both"] = DIRECTIONS["in"] | DIRECTIONS["out"]


def _exchange(pair: netns.Pair, *packets: bytes) -> None:
    """Send the packets out of veth0, then out of veth1."""
    for space, device in ((pair.near, "veth0"), (pair.far, "veth1")):
        with space.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind((device, 0))
            for packet in packets:
                sock.send(packet)


def _of_length(length: int) -> list[bytes]:
    """Return a plain and a tagged frame; no byte from offset 12 on is zero."""
    body = bytes(range(1, 101))
    tagged = frames.ethernet(frames.EXPERIMENT, body, ((frames.VLAN, 0x101),))
    return [frames.ethernet(frames.EXPERIMENT, body)[:length], tagged[: length + 6]]


@pytest.fixture(scope="module")
def cut(pair: netns.Pair) -> dict[int, stream.Stream]:
    """The streams of captures with different snaplens, all at the same time."""
    with contextlib.ExitStack() as stack:
        engines = {
            snaplen: stack.enter_context(
                running.engine(pair.near, "veth0", snaplen=snaplen)
            )
            for snaplen in SNAPLENS
        }
        _exchange(pair, *itertools.chain.from_iterable(map(_of_length, LENGTHS)))
        return {snaplen: engine.stop() for snaplen, engine in engines.items()}


@pytest.mark.parametrize("snaplen", SNAPLENS)
def test_snaplen_cuts_and_pads_with_zeros(
    cut: dict[int, stream.Stream], snaplen: int
) -> None:
    sent = [*itertools.chain.from_iterable(map(_of_length, LENGTHS))] * 2
    assert [f.data for f in cut[snaplen].frames] == [frame[:snaplen] for frame in sent]
    assert [f.original_len for f in cut[snaplen].frames] == [*map(len, sent)]
    assert [i.snaplen for i in cut[snaplen].interfaces] == [snaplen]


@pytest.mark.parametrize(
    "direction",
    [
        "in",
        *(pytest.param(d, marks=pytest.mark.same_everywhere) for d in ("out", "both")),
    ],
)
def test_direction(pair: netns.Pair, direction: str) -> None:
    mark = frames.marker()
    with running.engine(pair.near, "any", direction=direction) as engine:
        _exchange(pair, frames.CATALOGUE["arp"])
        with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.sendto(mark, receiver.getsockname())
            receiver.recv(100)
        found = engine.stop_after(mark)
    assert sorted(f.direction for f in found.of("veth0")) == sorted(
        DIRECTIONS[direction]
    )
    # lo sees each packet twice; it is captured once in any direction.
    on_lo = stream.INBOUND if direction == "in" else stream.OUTBOUND
    lo = [f for f in found.of("lo") if f.data.endswith(mark)]
    assert [f.direction for f in lo] == [on_lo]
