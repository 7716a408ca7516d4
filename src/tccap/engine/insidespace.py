"""One network namespace that is captured from inside: its devices."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tccap.attach import tcx
from tccap.engine import describing, surroundings
from tccap.engine.classifier import Classifier, DeviceEntry
from tccap.engine.devices import Device
from tccap.host import netlink
from tccap.ipc.plan import Plan
from tccap.owners import addresses, links, localroutes, translation
from tccap.owners.links import Link
from tccap.owners.occupied import Space
from tccap.owners.translation import Translation
from tccap.stream.linktypes import LinkType

_ANSWERS_MAX: Final = 16384  # of the kernel, about one namespace
# Kinds of devices by which packets may come from this host.
_LEAD_BACK: Final = links.PAIRS | links.SHARING | {"bridge"}


class Around(NamedTuple):
    """What a namespace says of itself, at one moment."""

    links: dict[int, Link]
    vrfs: dict[int, int]  # by the devices that belong to one
    below_vrfs: dict[int, int]
    lower: set[int]  # devices by which others receive
    translation: Translation
    networks: addresses.Found


NOTHING: Final = Around({}, {}, {}, set(), translation.NONE, {})


def look_around(namespace_id: int) -> Around:
    """Return what the namespace that this thread is in says; OSError."""
    with netlink.connect(answers_max=_ANSWERS_MAX) as there:
        found = list(links.read(there))
        networks = localroutes.read(there)
    return Around(
        links={link.ifindex: link for link in found},
        vrfs=links.vrfs(found),
        below_vrfs=links.below_vrfs(found),
        lower={link.lower for link in found},
        translation=translation.here(),
        networks=addresses.entries(networks, namespace_id),
    )


@dataclass
class _Captured:
    device: Device
    link: LinkType
    interface_id: int
    entry: DeviceEntry | None = None  # None: it waits to be attached
    links: list[int] = field(default_factory=list)


class InsideSpace:
    """A namespace, and those of its devices that are captured, by ifindex."""

    def __init__(
        self, space: Space, cookie: int, namespace_id: int, classifier: Classifier
    ) -> None:
        self.space = space  # as it was found last
        self.cookie = cookie
        self.namespace_id = namespace_id
        self.left_out: set[int] = set()  # devices, for good
        self._classifier = classifier
        self._around = NOTHING
        self._captured: dict[int, _Captured] = {}
        self._programs: dict[str, int] = {}

    def has(self, ifindex: int) -> bool:
        """Return whether a device is captured."""
        return ifindex in self._captured

    def is_known(self, ifindex: int) -> bool:
        """Return whether a device is captured or left out."""
        return ifindex in self._captured or ifindex in self.left_out

    @property
    def count(self) -> int:
        """Return how many devices are captured."""
        return len(self._captured)

    @property
    def may_lose_devices(self) -> bool:
        """Return whether some could move to another namespace, as lo cannot."""
        captured = (each.device for each in self._captured.values())
        return any(one.hardware_type != describing.LOOPBACK for one in captured)

    def add(self, device: Device, link: LinkType, interface_id: int) -> None:
        """Take note that a device was described; it waits to be attached."""
        self._captured[device.ifindex] = _Captured(device, link, interface_id)

    @property
    def waiting(self) -> list[Device]:
        """Return the devices that are not attached yet."""
        return [each.device for each in self._captured.values() if not each.entry]

    def forget_waiting(self) -> None:
        """Forget those: the thread could not enter the namespace."""
        for device in self.waiting:
            del self._captured[device.ifindex]

    def attach(self, device: Device, plan: Plan) -> None:
        """Start its packets, from inside the namespace; OSError if that is refused."""
        captured = self._captured[device.ifindex]
        self._enter(captured)
        wanted = describing.directions(device, plan)
        tcx.need_files(2 * len(wanted))
        for direction in wanted:
            program = self._program(direction)
            captured.links.append(tcx.link(program, device.ifindex, direction))

    def update(self, around: Around) -> None:
        """Let go of devices that are gone, and have the programs know the rest."""
        self._around = around
        for ifindex in self._captured.keys() - around.links.keys():
            self._classifier.remove_device(ifindex, self.namespace_id)
            _close(self._captured.pop(ifindex).links)
        self.left_out &= around.links.keys()
        for captured in self._captured.values():
            if captured.entry and captured.entry != self._entry(captured):
                self._enter(captured)

    @property
    def networks(self) -> addresses.Found:
        """Return which addresses are local there."""
        return self._around.networks

    def silence(self) -> None:
        """End the packets, ahead of closing the links."""
        for ifindex in self._captured:
            self._classifier.remove_device(ifindex, self.namespace_id)

    def release(self) -> list[int]:
        """Close the programs; return the links, for the caller to close."""
        _close(self._programs.values())
        return [link_fd for each in self._captured.values() for link_fd in each.links]

    def _enter(self, captured: _Captured) -> None:
        captured.entry = self._entry(captured)
        self._classifier.add_device(captured.device.ifindex, captured.entry)

    def _entry(self, captured: _Captured) -> DeviceEntry:
        device, around = captured.device, self._around
        link = around.links[device.ifindex]
        is_loopback = device.hardware_type == describing.LOOPBACK
        flags = surroundings.flags(around.translation, device.ifindex)
        return DeviceEntry(
            interface_id=captured.interface_id,
            first_header=describing.first_header(captured.link),
            is_loopback=is_loopback,
            far_namespace=-1,
            leads_away=False,
            # What lo carries has been translated before.
            translation=0 if is_loopback else flags,
            is_lower=link.master > 0 or device.ifindex in around.lower,
            from_here=link.kind in _LEAD_BACK,
            vrf=around.vrfs.get(device.ifindex, 0),
            below_vrf=around.below_vrfs.get(device.ifindex, 0),
            namespace_id=self.namespace_id,
            netns=self.space.inode,
        )

    def _program(self, direction: str) -> int:
        """Return the program for this namespace, loaded when it is first needed."""
        if direction not in self._programs:
            program = self._classifier.program_inside(self.namespace_id, direction)
            self._programs[direction] = program
        return self._programs[direction]


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
