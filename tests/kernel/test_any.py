"""Devices that come, go and change their names while a capture runs."""

import socket
from collections.abc import Iterator

import pytest

from support import frames, netns, running

PEER = ("type", "veth", "peer", "name")


def _add(space: netns.Namespace, device: str) -> None:
    space.ip("link", "add", device, *PEER, f"{device}p")
    for end in (device, f"{device}p"):
        space.run("sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1")
        space.ip("link", "set", end, "up")


def _send(space: netns.Namespace, device: str, mark: bytes) -> None:
    with space.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sock:
        sock.bind((device, 0))
        sock.send(frames.ethernet(frames.EXPERIMENT, mark))


def _send_until_seen(
    space: netns.Namespace, device: str, engine: running.Engine
) -> bytes:
    """Send on a device until the engine has found it, which nothing tells."""
    mark = frames.marker()

    def seen() -> bool:
        _send(space, device, mark)
        assert engine.output
        return mark in engine.output.so_far()

    running.until(seen, f"a packet of {device}")
    return mark


@pytest.fixture
def any_engine(space: netns.Namespace, without_tcx: bool) -> Iterator[running.Engine]:
    with running.engine(space, "any", without_tcx=without_tcx) as engine:
        yield engine


def test_devices_come_and_go(
    space: netns.Namespace, any_engine: running.Engine
) -> None:
    _add(space, "one")
    _send_until_seen(space, "one", any_engine)
    _add(space, "two")
    space.ip("link", "del", "one")
    _send_until_seen(space, "two", any_engine)
    _add(space, "one")  # again, and another device
    mark = _send_until_seen(space, "one", any_engine)
    found = any_engine.stop()

    names = [interface.name for interface in found.interfaces]
    assert sorted(names) == sorted(["lo", "two", "twop", *["one", "onep"] * 2])
    last = [f for f in found.of("one") if f.data.endswith(mark)][-1]
    assert last.interface == max(i for i, name in enumerate(names) if name == "one")
    assert "log" not in {event["event"] for event in any_engine.events()}


def test_a_burst_of_devices(space: netns.Namespace, any_engine: running.Engine) -> None:
    for number in range(20):
        space.ip("link", "add", f"b{number}", *PEER, f"b{number}p")
    for number in range(0, 20, 2):
        space.ip("link", "del", f"b{number}")
    for number in range(1, 20, 2):
        space.ip("link", "set", f"b{number}", "up")
        space.ip("link", "set", f"b{number}p", "up")
        _send_until_seen(space, f"b{number}", any_engine)
    found = any_engine.stop()
    assert {f"b{number}" for number in range(1, 20, 2)} <= {
        interface.name for interface in found.interfaces
    }


@pytest.mark.parametrize("device", ["any", "old"])
def test_a_renamed_device_stays(space: netns.Namespace, device: str) -> None:
    _add(space, "old")
    with running.engine(space, device) as engine:
        before = _send_until_seen(space, "old", engine)
        space.ip("link", "set", "old", "down")
        space.ip("link", "set", "old", "name", "new")
        space.ip("link", "set", "new", "up")
        after = frames.marker()
        _send(space, "new", after)
        found = engine.stop_after(after)
    names = [interface.name for interface in found.interfaces]
    assert "new" not in names
    sent = [f.data[14:] for f in found.of("old") if f.data[14:] in (before, after)]
    assert sent == [before] * (len(sent) - 1) + [after]


def test_the_one_device_is_gone(space: netns.Namespace, without_tcx: bool) -> None:
    _add(space, "one")
    with running.engine(space, "one", without_tcx=without_tcx) as engine:
        _send_until_seen(space, "one", engine)
        space.ip("link", "del", "one")
        assert engine.process.wait(running.DEADLINE_S) == 1
        engine.wait_for("\"The network device 'one' is gone.\"")
        found = engine.whole()
    assert found.frames
    assert found.counts[0].received == len(found.frames)


def test_an_unknown_device_is_one_sentence(space: netns.Namespace) -> None:
    message = r"There is no network device 'absent'\."
    with (
        pytest.raises(AssertionError, match=message),
        running.engine(space, "absent"),
    ):
        pass


def test_a_down_device_is_captured_once_it_is_up(space: netns.Namespace) -> None:
    space.ip("link", "add", "one", *PEER, "onep")
    with running.engine(space, "one") as engine:
        space.ip("link", "set", "one", "up")
        space.ip("link", "set", "onep", "up")
        mark = frames.marker()
        _send(space, "one", mark)
        found = engine.stop_after(mark)
    assert mark in [f.data[14:] for f in found.frames]
