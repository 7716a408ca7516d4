"""A reader that is too slow: lost packets are counted, and reported, exactly."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from support import frames, netns, running, stream
from support.flood import flood

PAYLOAD_LEN = 1000
SENT = 20_000  # twenty times the capacity of pipe and ring
PAYLOAD = 14 + 20 + 8


@pytest.fixture(scope="module")
def lossy() -> Iterator[tuple[stream.Stream, int, running.Engine]]:
    """A flood without a reader, then a reader, then a few packets more."""
    read_fd, write_fd = os.pipe()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # so that the order is that of sending
    try:
        with netns.pair() as pair, os.fdopen(read_fd, "rb") as reader:
            with running.engine(
                pair.near, "veth0", stdout=write_fd, ring_mib=1, direction="out"
            ) as engine:
                os.close(write_fd)
                found, sent = _flood(pair, engine, reader)
            yield found, sent, engine
    finally:
        os.sched_setaffinity(0, allowed)


def _flood(
    pair: netns.Pair, engine: running.Engine, reader: object
) -> tuple[stream.Stream, int]:
    with pair.far.entered():
        sink = socket.socket(type=socket.SOCK_DGRAM)
    with pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sink, sock:
        sink.bind((pair.far_address, 0))
        sock.connect(sink.getsockname())
        flood(sock, PAYLOAD_LEN, SENT)
        engine.wait_for('"lost"')  # reported while the reader is still stopped
        engine.output = running.Collector(reader)  # type: ignore[arg-type]
        mark, sent = frames.marker(), SENT

        def seen() -> bool:
            nonlocal sent
            sock.send(struct.pack("=Q", sent) + mark)
            sent += 1
            assert engine.output
            return mark in engine.output.so_far()

        running.until(seen, "a packet after the losses")
    return engine.stop(), sent


@pytest.mark.same_everywhere
def test_losses_are_reported_from_whichever_processor() -> None:
    """Half of a flood is lost on each of two; the packet after it is sent from one."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        pytest.skip("there is one processor")
    read_fd, write_fd = os.pipe()
    with (
        netns.pair() as pair,
        os.fdopen(read_fd, "rb") as reader,
        running.engine(
            pair.near, "veth0", stdout=write_fd, ring_mib=1, direction="out"
        ) as engine,
    ):
        os.close(write_fd)
        found = _flood_from(cpus[:2], pair, engine, reader)
    assert found.counts[0].dropped > SENT / 2
    assert sum(f.dropcount for f in found.frames) == found.counts[0].dropped


def _flood_from(
    cpus: list[int], pair: netns.Pair, engine: running.Engine, reader: object
) -> stream.Stream:
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            _send(pair, SENT // 2)
        engine.wait_for('"lost"')
        engine.output = running.Collector(reader)  # type: ignore[arg-type]
        os.sched_setaffinity(0, {cpus[0]})
        return _stop_after_a_packet(pair, engine)
    finally:
        os.sched_setaffinity(0, allowed)


def _send(pair: netns.Pair, count: int) -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((pair.far_address, netns.DISCARD_PORT))
        flood(sock, PAYLOAD_LEN, count)


def _stop_after_a_packet(pair: netns.Pair, engine: running.Engine) -> stream.Stream:
    mark = frames.marker()
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((pair.far_address, netns.DISCARD_PORT))

        def seen() -> bool:
            sock.send(mark)
            assert engine.output
            return mark in engine.output.so_far()

        running.until(seen, "a packet after the losses")
    return engine.stop()


Lossy = tuple[stream.Stream, int, running.Engine]


def test_sent_is_captured_plus_counted(lossy: Lossy) -> None:
    found, sent, _ = lossy
    counts = found.counts[0]
    assert counts.received == counts.accepted == sent
    assert 0 < len(found.frames) < SENT / 2
    assert len(found.frames) + counts.dropped == sent


def test_each_block_has_the_gap_before_it(lossy: Lossy) -> None:
    found, sent, _ = lossy
    expected = 0
    for frame in found.frames:
        (number,) = struct.unpack_from("=Q", frame.data, PAYLOAD)
        assert number == expected + frame.dropcount
        expected = number + 1
    assert expected == sent
    assert sum(f.dropcount for f in found.frames) == found.counts[0].dropped


def test_the_status_reports_the_same(lossy: Lossy) -> None:
    found, sent, engine = lossy
    end = next(event for event in engine.events() if event["event"] == "end")
    assert end["received"] == end["accepted"] == sent
    assert end["dropped"] == found.counts[0].dropped
    assert end["complete"]
