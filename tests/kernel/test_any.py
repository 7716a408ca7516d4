"""Devices that come, go and change their names while a capture runs."""

import socket

import pytest

from support import frames, netns, running, stream, tc

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
    """Send on a device until the engine has found it: there is no event for that."""
    mark = frames.marker()

    def seen() -> bool:
        _send(space, device, mark)
        assert engine.output
        so_far = stream.whole_blocks(engine.output.so_far())
        # Its peer may be captured, and show the packet, before the device is.
        last = stream.parse(so_far).of(device)[-1:]
        return [frame.data[14:] for frame in last] == [mark]

    running.until(seen, f"a packet of {device}")
    return mark


def test_devices_come_and_go(space: netns.Namespace, without_tcx: bool) -> None:
    with running.engine(space, "any", without_tcx=without_tcx) as engine:
        _add(space, "one")
        _send_until_seen(space, "one", engine)
        _add(space, "two")
        space.ip("link", "del", "one")
        _send_until_seen(space, "two", engine)
        _add(space, "one")  # again, and another device
        mark = _send_until_seen(space, "one", engine)
        for number in range(20):
            space.ip("link", "add", f"b{number}", *PEER, f"b{number}p")
        for number in range(0, 20, 2):
            space.ip("link", "del", f"b{number}")
        for number in range(1, 20, 2):
            space.ip("link", "set", f"b{number}", "up")
            space.ip("link", "set", f"b{number}p", "up")
            _send_until_seen(space, f"b{number}", engine)
        found = engine.stop()

    names = [interface.name for interface in found.interfaces]
    assert names.count("one") == names.count("onep") == 2
    assert {"lo", "two", "twop", *(f"b{n}" for n in range(1, 20, 2))} <= {*names}
    last = [f for f in found.of("one") if f.data.endswith(mark)][-1]
    assert last.interface == max(i for i, name in enumerate(names) if name == "one")
    messages = [str(event.get("message")) for event in engine.events()]
    assert not [text for text in messages if "captured:" in text]
    assert tc.left(space) == []


@pytest.mark.same_everywhere
@pytest.mark.parametrize("device", ["any", "old"])
def test_a_renamed_device_stays(space: netns.Namespace, device: str) -> None:
    _add(space, "old")
    space.ip("link", "set", "old", "down")
    with running.engine(space, device) as engine:
        space.ip("link", "set", "old", "up")
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


@pytest.mark.same_everywhere
def test_the_captured_device_is_removed(space: netns.Namespace) -> None:
    _add(space, "one")
    with running.engine(space, "one") as engine:
        _send_until_seen(space, "one", engine)
        space.ip("link", "del", "one")
        assert engine.process.wait(running.DEADLINE_S) == 1
        engine.wait_for("\"The network device 'one' is gone.\"")
        found = engine.whole()
    assert found.frames
    assert found.counts[0].received == len(found.frames)


@pytest.mark.same_everywhere
def test_an_unknown_device_is_one_sentence(space: netns.Namespace) -> None:
    message = r"There is no network device 'absent'\."
    with (
        pytest.raises(AssertionError, match=message),
        running.engine(space, "absent"),
    ):
        pass


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    ("chosen", "left"),
    [("all", ["lo", "tun0"]), ("ethernet", ["lo"]), ("raw-ip", ["tun0"])],
)
def test_a_link_type_leaves_the_other_devices_out(
    space: netns.Namespace, chosen: str, left: list[str]
) -> None:
    with netns.tunnel_file(space, "tun0", netns.IFF_TUN, "10.5.0.1"):
        with running.engine(space, "any", link_types=chosen) as engine:
            found = engine.stop()
        assert [device.name for device in found.interfaces] == left


@pytest.mark.same_everywhere
def test_a_device_of_another_link_type_is_refused(space: netns.Namespace) -> None:
    with running.engine(space, "lo", link_types="raw-ip", begun='"error"') as engine:
        engine.wait_for(
            "lo is not captured: its link type is Ethernet, and only raw-ip"
        )
        assert engine.process.wait(running.DEADLINE_S) == 1
