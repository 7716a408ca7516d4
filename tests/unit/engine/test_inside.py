"""Which namespaces are entered, and when; namespaces and programs are stand-ins."""

import contextlib
import errno
import os
from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest

from tccap.engine import describing, devices, inside, insidespace
from tccap.engine.devices import Device
from tccap.engine.inside import WARNINGS, Inside
from tccap.front import options, request
from tccap.host.shares import Shares, Whose
from tccap.owners.links import Link
from tccap.owners.occupied import ForbiddenError, Space
from tccap.stream import abi
from tccap.stream.blocks import Section

ARPHRD_ETHER = 1
PLAN = request.plan("tccap-any", "", options.Options())


class Containers:
    """Namespaces, as Insiders has them."""

    def __init__(self) -> None:
        self.there: dict[int, Space] = {}
        self.refusals: dict[int, Exception] = {}  # by inode
        self.cookies: dict[int, int] = {}
        self.entered_pids: list[int] = []

    def start(self, inode: int, pid: int, whose: Whose = None) -> None:
        self.there[inode] = Space(inode, pid, f"web-{pid}", whose or f"web-{pid}")

    def find(self) -> dict[int, Space]:
        return dict(self.there)

    @contextlib.contextmanager
    def entered(self, space: Space) -> Iterator[int]:
        self.entered_pids.append(space.pid)
        if space.inode in self.refusals:
            raise self.refusals[space.inode]
        yield self.cookies.get(space.inode, space.inode)


@pytest.fixture
def containers() -> Containers:
    return Containers()


@pytest.fixture
def captured(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Inside]:
    """What is captured inside of them: they have no devices."""
    monkeypatch.setattr(inside, "AGAIN_S", (1000.0,))
    monkeypatch.setattr(insidespace, "look_around", lambda _: insidespace.NOTHING)
    section = Section("os", "hardware")
    made = Inside(PLAN, section, MagicMock(), MagicMock(), containers)  # type: ignore[arg-type]
    yield made
    made.close()


def test_a_namespace_is_entered_again_for_another_process_alone(
    containers: Containers, captured: Inside
) -> None:
    containers.start(7, 70)
    captured.look()
    assert containers.entered_pids == []
    assert not captured.is_complete
    for _ in range(2):
        captured.look()
    assert containers.entered_pids == [70]
    assert captured.is_complete
    containers.start(7, 71)
    captured.look()
    assert containers.entered_pids == [70, 71]
    assert captured._last_id == -2


def test_a_namespace_that_has_the_number_of_another_one_is_another_one(
    containers: Containers, captured: Inside
) -> None:
    containers.start(7, 70)
    for _ in range(2):
        captured.look()
    containers.cookies[7] = 99
    containers.start(7, 71)
    captured.look()
    assert captured._last_id == -3


def test_too_many_are_a_sentence_until_one_ends(
    containers: Containers,
    captured: Inside,
    capfd: pytest.CaptureFixture[str],
) -> None:
    captured._room = Shares(2)
    for inode in (7, 8, 9):
        containers.start(inode, inode)
    for _ in range(3):
        captured.look()
    assert containers.entered_pids == [7, 8]
    assert captured.is_complete
    assert capfd.readouterr().err.count("network namespaces are chosen") == 1
    del containers.there[7]
    for _ in range(2):
        captured.look()  # the second one sees that there is room
    assert containers.entered_pids == [7, 8, 9]


def test_no_user_takes_all_room(containers: Containers, captured: Inside) -> None:
    captured._room = Shares(4)
    for inode in range(7, 12):
        containers.start(inode, inode, whose=1000)
    for _ in range(3):
        captured.look()
    containers.start(20, 20)
    for _ in range(2):
        captured.look()
    assert containers.entered_pids == [7, 8, 20]
    del containers.there[7]
    for _ in range(3):
        captured.look()
    assert containers.entered_pids == [7, 8, 20, 9]


def test_whoever_took_least_time_is_next(
    containers: Containers, captured: Inside
) -> None:
    captured._spent_s = {1000: 2.0, 1001: 1.0}
    for inode, whose in ((7, 1000), (8, 1001), (9, 1000), (10, None)):
        containers.start(inode, inode, whose)
    for _ in range(2):
        captured.look()
    assert containers.entered_pids == [10, 8, 7, 9]
    assert captured._spent_s[1000] > 2.0


def test_no_user_takes_all_interfaces(
    containers: Containers,
    captured: Inside,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nor fills the log with what is not captured."""
    monkeypatch.setattr(abi, "INTERFACES", 40)
    numbers = range(1, 31)
    links = {n: Link(n, "", 0, 0, -1, 0) for n in numbers}
    around = insidespace.NOTHING._replace(links=links)
    monkeypatch.setattr(insidespace, "look_around", lambda _: around)
    monkeypatch.setattr(
        devices, "describe", lambda new, **_: [_device(n) for n in sorted(new)]
    )
    described: list[bytes] = []
    captured._send = described.append
    containers.start(7, 7, whose=1000)
    containers.start(8, 8, whose=1000)
    for _ in range(2):
        captured.look()
    assert len(described) == 20
    said = capfd.readouterr().err
    assert said.count("too many devices before, 20 in all") == WARNINGS
    assert said.count("leaves out what else is not captured of user 1000") == 1
    containers.start(9, 9, whose="other")
    for _ in range(2):
        captured.look()
    assert len(described) == 30


def _device(number: int, kind: int = describing.LOOPBACK) -> Device:
    return Device(number, f"d{number}", kind, b"", (), (), 0, False)


@pytest.mark.parametrize("kind", [describing.LOOPBACK, ARPHRD_ETHER])
def test_what_could_lose_a_device_to_the_host_is_entered_when_that_has_new_ones(
    containers: Containers,
    captured: Inside,
    monkeypatch: pytest.MonkeyPatch,
    kind: int,
) -> None:
    around = insidespace.NOTHING._replace(links={2: Link(2, "", 0, 0, -1, 0)})
    monkeypatch.setattr(insidespace, "look_around", lambda _: around)
    monkeypatch.setattr(devices, "describe", lambda *_, **__: [_device(2, kind)])
    captured._send = lambda _: None
    containers.start(7, 7)
    for _ in range(2):
        captured.look()
    captured.devices_changed()
    captured.look()
    is_entered_again = kind != describing.LOOPBACK
    assert containers.entered_pids == [7] * (1 + is_entered_again)


def test_a_namespace_that_was_missed_once_is_still_captured(
    containers: Containers, captured: Inside
) -> None:
    containers.start(7, 70)
    for _ in range(2):
        captured.look()
    there, containers.there = containers.there, {}
    captured.look()
    containers.there = there
    captured.look()
    assert containers.entered_pids == [70]
    assert captured._last_id == -2


def test_a_refusal_is_one_sentence_and_not_asked_for_again(
    containers: Containers, captured: Inside, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.refusals = {
        7: ForbiddenError(),
        8: OSError(errno.EPERM, os.strerror(errno.EPERM)),
    }
    for inode in (7, 8):
        containers.start(inode, inode)
    for _ in range(3):
        captured.look()
    assert containers.entered_pids == [7, 8]
    said = capfd.readouterr().err
    assert said.count("because they are not yours") == 1
    assert said.count("web-8 cannot be captured from inside: Operation not") == 1


def test_one_that_ends_meanwhile_is_tried_again_in_silence(
    containers: Containers, captured: Inside, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.refusals = {7: ProcessLookupError(errno.ESRCH, "")}
    containers.start(7, 70)
    for _ in range(3):
        captured.look()
    assert containers.entered_pids == [70, 70]
    assert capfd.readouterr().err == ""


def test_a_process_on_its_way_into_a_container_is_no_reason_to_enter(
    containers: Containers, captured: Inside
) -> None:
    for pid in range(70, 75):
        containers.start(7, pid)
        captured.look()
    assert containers.entered_pids == []
