"""The same frames, byte for byte, as tcpdump sees at the same time.

One capture a way of attaching is shared by all cases: it takes all devices of
a namespace, whose veth0 first sends and then receives every kind of frame.
"""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support import frames, netns, running, stream
from support.frames import CATALOGUE

TOLERANCE_NS = 1_000_000  # of the boot clock plus offset against the wall clock


@dataclass
class Seen:
    ours: stream.Stream
    tcpdump: list[bytes]
    began_ns: int
    turned_ns: int  # veth0 stopped sending and began to receive
    ended_ns: int

    def captured(self, direction: int) -> list[stream.Frame]:
        return [f for f in self.ours.of("veth0") if f.direction == direction]


@pytest.fixture(scope="module")
def seen(without_tcx: bool) -> Iterator[Seen]:
    with netns.pair() as pair:
        for space, device in ((pair.near, "veth0"), (pair.far, "veth1")):
            space.ip("link", "set", device, "mtu", str(frames.MTU_MAX))
        with (
            running.engine(pair.near, "any", without_tcx=without_tcx) as engine,
            running.tcpdump(pair.near, "veth0") as tcpdump,
        ):
            mark = frames.marker()
            began_ns = time.time_ns()
            _send(pair.near, "veth0", [*CATALOGUE.values()])
            turned_ns = time.time_ns()
            last = frames.ethernet(frames.EXPERIMENT, mark)
            _send(pair.far, "veth1", [*CATALOGUE.values(), last])
            assert engine.output
            engine.output.wait_for(mark)
            ended_ns = time.time_ns()
            theirs = tcpdump.stop_after(mark)
            yield Seen(engine.stop(), theirs, began_ns, turned_ns, ended_ns)


def _send(space: netns.Namespace, device: str, packets: list[bytes]) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # one CPU keeps the order
    try:
        with space.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind((device, 0))
            for packet in packets:
                assert sock.send(packet) == len(packet)
    finally:
        os.sched_setaffinity(0, allowed)


def test_all_frames_are_those_of_tcpdump_in_the_same_order(seen: Seen) -> None:
    assert [f.data for f in seen.ours.of("veth0")] == seen.tcpdump


@pytest.mark.parametrize("direction", [stream.OUTBOUND, stream.INBOUND])
@pytest.mark.parametrize("name", CATALOGUE)
def test_frame_is_as_it_was_sent(seen: Seen, name: str, direction: int) -> None:
    place = list(CATALOGUE).index(name)
    frame = seen.captured(direction)[place]
    assert frame.data == CATALOGUE[name]
    assert frame.original_len == len(CATALOGUE[name])
    assert frame.dropcount == 0


def test_times_are_the_senders(seen: Seen) -> None:
    for direction, low_ns, high_ns in (
        (stream.OUTBOUND, seen.began_ns, seen.turned_ns),
        (stream.INBOUND, seen.turned_ns, seen.ended_ns),
    ):
        times = [frame.time_ns for frame in seen.captured(direction)]
        assert low_ns - TOLERANCE_NS < times[0]
        assert times[-1] < high_ns + TOLERANCE_NS
        assert times == sorted(times)
        assert len(set(times)) > 1


def test_the_counts_are_the_frames(seen: Seen) -> None:
    for number, interface in enumerate(seen.ours.interfaces):
        captured = len(seen.ours.of(interface.name))
        counts = stream.Counts(received=captured, accepted=captured, dropped=0)
        assert seen.ours.counts[number] == counts


def test_the_interface_is_described(seen: Seen) -> None:
    veth0 = next(i for i in seen.ours.interfaces if i.name == "veth0")
    assert veth0.linktype == 1
    assert veth0.snaplen == 262144
    assert veth0.options[4] == socket.inet_aton("10.9.0.1") + b"\xff\xff\xff\0"
    assert veth0.options[6] == frames.SENDER
