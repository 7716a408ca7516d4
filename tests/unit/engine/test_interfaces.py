"""Interfaces without a kernel: attacher and classifier are stand-ins."""

import errno
import os
from typing import Any
from unittest.mock import MagicMock

import pytest

from tccap.engine import devices
from tccap.engine.classifier import DeviceEntry
from tccap.engine.devices import Device
from tccap.engine.interfaces import Interfaces
from tccap.engine.surroundings import Survey
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.ipc.values import Direction
from tccap.owners import links
from tccap.stream import abi
from tccap.stream.blocks import Section


def _device(ifindex: int, name: str, hardware_type: int = 1) -> Device:
    return Device(ifindex, name, hardware_type, b"", (), (), 0, is_hardware=True)


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> dict[int, Device]:
    """The devices that there are."""
    there: dict[int, Device] = {}

    def names() -> dict[int, str]:
        return {ifindex: device.name for ifindex, device in there.items()}

    def describe(ifindexes: set[int]) -> list[Device]:
        return [there[i] for i in sorted(ifindexes) if i in there]

    monkeypatch.setattr(devices, "names", names)
    monkeypatch.setattr(devices, "describe", describe)
    monkeypatch.setattr(Survey, "read", lambda _: {})
    monkeypatch.setattr(links, "is_vrf", lambda ifindex: there[ifindex].is_vrf)
    return there


def _interfaces(
    device: str, sent: list[bytes], direction: Direction = "both"
) -> Interfaces:
    chosen = options.Options()._replace(direction=direction, snaplen=100)
    the_plan = request.plan(f"tccap-{device}", "", chosen)
    return Interfaces(the_plan, Section("os", "hardware"), sent.append)


def _failing(code: int) -> Any:
    error = OSError(code, os.strerror(code))
    return MagicMock(attach=MagicMock(side_effect=error))


def test_a_device_gone_before_it_is_attached_is_no_error(
    present: dict[int, Device], capfd: pytest.CaptureFixture[str]
) -> None:
    present[7] = _device(7, "eth7")
    for device in ("any", "eth7"):
        interfaces = _interfaces(device, [])
        interfaces.discover()
        interfaces.attach(MagicMock(), _failing(errno.ENODEV))
    assert capfd.readouterr().err == ""


def test_a_device_that_refuses_ends_its_own_capture_only(
    present: dict[int, Device], capfd: pytest.CaptureFixture[str]
) -> None:
    present[7] = _device(7, "eth7")
    alone, among = _interfaces("eth7", []), _interfaces("any", [])
    alone.discover()
    with pytest.raises(TccapError, match="eth7 cannot be captured: Device or resource"):
        alone.attach(MagicMock(), _failing(errno.EBUSY))
    among.discover()
    among.attach(MagicMock(), _failing(errno.EBUSY))
    assert "eth7 cannot be captured: Device or resource busy." in capfd.readouterr().err


def test_ids_follow_the_order_of_appearance(present: dict[int, Device]) -> None:
    sent: list[bytes] = []
    interfaces = _interfaces("any", sent)
    present[3] = _device(3, "three")
    assert interfaces.discover() == []
    present[1] = _device(1, "one")
    del present[3]
    assert interfaces.discover() == [3]
    classifier, attacher = MagicMock(), MagicMock()
    interfaces.attach(classifier, attacher)
    assert [b"three" in sent[0], b"one" in sent[1]] == [True, True]
    classifier.add_device.assert_any_call(1, DeviceEntry(1, True, False, -1, True))
    attacher.attach.assert_any_call(1, ("in", "out"))
    interfaces.detach(3, classifier, attacher)
    interfaces.detach(3, classifier, attacher)
    attacher.detach.assert_called_once_with(3)


@pytest.mark.parametrize(
    ("direction", "side"), [("both", "out"), ("in", "in"), ("out", "out")]
)
def test_lo_has_one_side(
    present: dict[int, Device], direction: Direction, side: str
) -> None:
    present[1] = _device(1, "lo", 772)
    interfaces = _interfaces("lo", [], direction)
    interfaces.discover()
    attacher = MagicMock()
    interfaces.attach(MagicMock(), attacher)
    attacher.attach.assert_called_once_with(1, (side,))


def test_an_unknown_link_type_is_reported(
    present: dict[int, Device], capfd: pytest.CaptureFixture[str]
) -> None:
    present[5] = _device(5, "odd0", 9999)
    with pytest.raises(TccapError, match="odd0 cannot be captured: unknown link type"):
        _interfaces("odd0", []).discover()
    sent: list[bytes] = []
    _interfaces("any", sent).discover()
    assert sent == []
    assert "unknown link type 9999" in capfd.readouterr().err


def test_no_such_device(present: dict[int, Device]) -> None:
    assert not present
    with pytest.raises(TccapError, match="There is no network device 'eth9'"):
        _interfaces("eth9", []).discover()
    assert _interfaces("any", []).discover() == []


AIR, RADIOTAP = 801, 803


def _entries(*there: Device, present: dict[int, Device]) -> list[int]:
    """Return how the frames of devices begin, for a capture of all of them."""
    present.update({device.ifindex: device for device in there})
    interfaces, classifier = _interfaces("any", []), MagicMock()
    interfaces.discover()
    interfaces.attach(classifier, MagicMock())
    return [call.args[1].first_header for call in classifier.add_device.mock_calls]


def test_no_addresses_are_read_from_frames_that_begin_otherwise(
    present: dict[int, Device],
) -> None:
    found = _entries(
        _device(1, "mon0", AIR),
        _device(2, "mon1", RADIOTAP),
        _device(3, "gre1", 778),
        present=present,
    )
    unread = abi.FIRST_UNREAD
    assert found == [unread, unread, abi.FIRST_IP]


def test_a_filter_leaves_out_frames_that_begin_otherwise(
    present: dict[int, Device], capfd: pytest.CaptureFixture[str]
) -> None:
    present[2] = _device(2, "mon0", AIR)
    the_plan = request.plan("tccap-any", "icmp", options.Options())
    sent: list[bytes] = []
    Interfaces(the_plan, Section("os", "hardware"), sent.append).discover()
    assert sent == []
    reason = "its frames are of 802.11, capture it alone"
    assert reason in capfd.readouterr().err


def test_an_802_11_device_alone_has_a_filter_of_its_own(
    present: dict[int, Device],
) -> None:
    present[2] = _device(2, "mon0", AIR)
    the_plan = request.plan("tccap-mon0", "type mgt", options.Options())
    sent: list[bytes] = []
    Interfaces(the_plan, Section("os", "hardware"), sent.append).discover()
    assert len(sent) == 1


def test_devices_that_are_up_come_first(present: dict[int, Device]) -> None:
    present[1] = _device(1, "down")._replace(is_up=False)
    present[2] = _device(2, "up")
    interfaces, attacher = _interfaces("any", []), MagicMock()
    interfaces.discover()
    interfaces.attach(MagicMock(), attacher, deadline=0)
    assert [call.args[0] for call in attacher.attach.mock_calls] == [2]
    assert interfaces.are_waiting
    interfaces.attach(MagicMock(), attacher, deadline=0)
    assert not interfaces.are_waiting


def test_a_device_that_goes_is_not_waited_for(present: dict[int, Device]) -> None:
    present.update({1: _device(1, "one"), 2: _device(2, "two")})
    interfaces, attacher = _interfaces("any", []), MagicMock()
    interfaces.discover()
    interfaces.attach(MagicMock(), attacher, deadline=0)
    del present[2]
    for ifindex in interfaces.discover():
        interfaces.detach(ifindex, MagicMock(), attacher)
    assert not interfaces.are_waiting


RED = 7


@pytest.fixture
def members(present: dict[int, Device], monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The members of a VRF, which is there with a device that is none of them."""
    present[RED] = _device(RED, "red")._replace(is_vrf=True)
    present.update({n: _device(n, f"eth{n}") for n in (1, 2, 3)})
    found: set[int] = {1}
    monkeypatch.setattr(links, "members_of_vrf", lambda _: found & present.keys())
    return found


def test_a_vrf_is_captured_with_its_members(members: set[int]) -> None:
    sent: list[bytes] = []
    interfaces, attacher = _interfaces("red", sent), MagicMock()
    interfaces.discover()
    members.add(2)
    interfaces.discover()
    interfaces.attach(MagicMock(), attacher)
    attached = [call.args for call in attacher.attach.mock_calls]
    both = ("in", "out")
    assert attached == [(1, both), (RED, ("out",)), (2, both)]
    assert len(sent) == len(attached)


def test_a_member_that_leaves_does_not_end_the_capture_of_a_vrf(
    present: dict[int, Device], members: set[int]
) -> None:
    interfaces = _interfaces("red", [])
    interfaces.discover()
    members.clear()
    gone = interfaces.discover()
    assert gone == [1]
    assert not interfaces.are_over(gone)
    del present[RED]
    assert interfaces.are_over(interfaces.discover())


@pytest.mark.usefixtures("members")
def test_a_member_that_cannot_be_captured_is_left_out(
    present: dict[int, Device], capfd: pytest.CaptureFixture[str]
) -> None:
    present[1] = _device(1, "odd0", 9999)
    sent: list[bytes] = []
    _interfaces("red", sent).discover()
    assert [b"red" in block for block in sent] == [True]
    assert "odd0 cannot be captured: unknown link type 9999." in capfd.readouterr().err
