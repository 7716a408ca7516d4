"""Qdiscs and filters of other programs, which a capture must leave alone."""

import socket
from collections.abc import Iterator

import pytest

import progrun
from support import bpf, frames, netns, running, stream, tc
from tccap.attach.tcx import TcxAttacher


def _say(pair: netns.Pair) -> bytes:
    mark = frames.marker()
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(mark, (pair.far_address, 9))
    return mark


@pytest.fixture
def fresh() -> Iterator[netns.Pair]:
    with netns.pair() as made:
        yield made


# Filters of others: device, priority, and whether they end the classification, which
# hides packets from later filters; only priority 1 is before tccap's.
FILTERS = (("one", 1, tc.PASS_BY), ("two", 2, tc.MATCH), ("last", 49152, tc.MATCH))
TBF = ("tbf", "rate", "1gbit", "burst", "1mb", "latency", "1s")
DEVICES = ("one", "two", "last", "empty", "root", "later")


def _peopled(space: netns.Namespace) -> dict[str, str]:
    """Add a device for each way to use tc; return tc's listing of each."""
    for device in DEVICES:
        space.ip("link", "add", device, "type", "veth", "peer", "name", f"{device}p")
        for end in (device, f"{device}p"):
            space.run("sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1")
            space.ip("link", "set", end, "up")
    for device, priority, verdict in FILTERS:
        space.run("tc", "qdisc", "add", "dev", device, "clsact")
        for direction in tc.DIRECTIONS:
            tc.add_filter(space, device, direction, priority, verdict)
    space.run("tc", "qdisc", "add", "dev", "empty", "clsact")
    space.run("tc", "qdisc", "add", "dev", "root", "root", *TBF)
    return {device: tc.listing(space, device) for device in DEVICES}


def test_filters_and_qdiscs_of_others_stay(
    space: netns.Namespace, without_tcx: bool
) -> None:
    before = _peopled(space)
    mark = frames.marker()
    with running.engine(space, "any", without_tcx=without_tcx) as engine:
        for device in DEVICES:
            assert ("tccap" in tc.listing(space, device)) == without_tcx
        if not without_tcx:  # else the qdisc exists, and is shared
            space.run("tc", "qdisc", "add", "dev", "later", "clsact")
        tc.add_filter(space, "later", "egress", 77)
        for device in DEVICES:
            with space.entered():
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            with sock:
                sock.bind((device, 0))
                packet = frames.ipv4(frames.udp(b"to somebody"))
                sock.send(frames.ethernet(frames.IPV4, packet))
                sock.send(frames.ethernet(frames.EXPERIMENT, mark))
        found = engine.stop()

    for device in DEVICES:
        assert [f.direction for f in found.of(device)] == [stream.OUTBOUND] * 2
    later = tc.listing(space, "later")
    assert "pref 77 bpf chain 0 handle 0x1" in later
    assert "clsact" in later
    assert "tccap" not in later
    after = {device: tc.listing(space, device) for device in DEVICES}
    assert {**after, "later": ""} == {**before, "later": ""}


def test_an_ingress_qdisc_in_clsacts_place(
    fresh: netns.Pair, without_tcx: bool
) -> None:
    """The old ingress qdisc and clsact exclude each other; TCX works beside both."""
    fresh.near.run("tc", "qdisc", "add", "dev", "veth0", "ingress")
    before = tc.listing(fresh.near, "veth0")
    if without_tcx:
        message = "veth0 cannot be captured: .* ingress qdisc is in its place"
        with (
            pytest.raises(AssertionError, match=message),
            running.engine(fresh.near, "veth0", without_tcx=True),
        ):
            pass
    else:
        with running.engine(fresh.near, "veth0") as engine:
            engine.stop_after(_say(fresh))
    assert tc.listing(fresh.near, "veth0") == before


# Ends what follows, as most programs do that let a frame pass, and as tc's actions do.
TC_ACT_OK = "int passes(struct __sk_buff *skb) { return 0; }"


@pytest.mark.skipif(not bpf.has_tcx(), reason="TCX came with Linux 6.6")
def test_a_program_that_ends_the_chain_hides_no_packet(fresh: netns.Pair) -> None:
    """Behind it, which would show its changes, tccap would see nothing at all."""
    _compiled, program_fd = progrun.load(TC_ACT_OK, "passes")
    with fresh.near.entered():
        ifindex = socket.if_nametoindex("veth0")
        with TcxAttacher({"out": program_fd}) as other:
            other.attach(ifindex, ("out",))
            with running.engine(fresh.near, "veth0") as engine:
                found = engine.stop_after(_say(fresh))
    assert [f.direction for f in found.frames] == [stream.OUTBOUND]


# 400 bytes at once, and then one packet of 100 bytes in 8 s.
SLOW_TBF = ("tbf", "rate", "100bit", "burst", "400", "limit", "400")


@pytest.mark.same_everywhere
def test_packets_that_the_queue_drops_later_are_captured(fresh: netns.Pair) -> None:
    """docs/limitations.md says so: egress classifiers stand before the queue."""
    fresh.near.run("tc", "qdisc", "add", "dev", "veth0", "root", *SLOW_TBF)
    with (
        running.engine(fresh.near, "veth0", direction="out") as engine,
        running.tcpdump(fresh.near, "veth0") as tcpdump,
    ):
        marks = [_say(fresh) for _ in range(20)]
        found = engine.stop_after(marks[-1])
        # tcpdump stands behind the queue; this one comes past it.
        fresh.near.run("tc", "qdisc", "del", "dev", "veth0", "root")
        left = tcpdump.stop_after(_say(fresh))
    assert [f.data[-len(marks[0]) :] for f in found.frames] == marks
    assert 1 < len(left) < len(marks)


@pytest.mark.same_everywhere
def test_captures_side_by_side_see_the_same(
    fresh: netns.Pair, without_tcx: bool
) -> None:
    """One capture ends while the others go on; both ways of attaching mix."""
    with (
        running.engine(fresh.near, "veth0", without_tcx=without_tcx) as first,
        running.engine(fresh.near, "any", without_tcx=without_tcx) as second,
        running.engine(fresh.near, "veth0", without_tcx=True) as third,
    ):
        early = _say(fresh)
        ended = first.stop_after(early)
        late = _say(fresh)
        others = [engine.stop_after(late) for engine in (second, third)]
    assert [f.data[-len(early) :] for f in ended.frames if f.direction == 2] == [early]
    for other in others:
        sent = [f.data[-len(late) :] for f in other.of("veth0") if f.direction == 2]
        assert sent == [early, late]
    assert tc.left(fresh.near) == []
