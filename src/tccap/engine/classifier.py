"""The classifier in the kernel: its programs and its tables."""

import contextlib
from typing import NamedTuple

from tccap.bpf.collection import Collection
from tccap.bpf.uapi import ProgType
from tccap.owners.addresses import OWN_NAMESPACE
from tccap.stream.abi import Statistics
from tccap.stream.programoptions import Option

# In the order of the map in bpf/packet/stages.h; some kernels need only the first.
STAGES = ("tccap_classify", "tccap_label")
# The first stages, by direction.
_FIRST = {"in": "tccap_ingress", "out": "tccap_egress"}


class DeviceKey(NamedTuple):
    """A device: struct device_key of bpf/abi.h."""

    namespace_id: int
    ifindex: int


class DeviceEntry(NamedTuple):
    """What the classifier must know of a device: struct device of bpf/abi.h."""

    interface_id: int
    first_header: int  # abi.FIRST_*
    is_loopback: bool
    far_namespace: int
    leads_away: bool
    far_netns: int = 0  # inode number of the namespace; 0: unknown
    far_ifindex: int = 0
    translation: int = 0
    far_translation: int = 0
    is_lower: bool = False
    from_here: bool = False
    master: int = 0
    vrf: int = 0
    below_vrf: int = 0
    others_from_here: bool = False
    far_in_vrf: bool = False
    namespace_id: int = OWN_NAMESPACE
    netns: int = 0


class Classifier:
    """The programs that take packets; `programs` are to be attached.

    Those are small. The later stages take the kernel longer than all the rest of a
    start, so they are loaded in a thread, and packets are ignored until `begin`.
    TccapError where the kernel refuses a program.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._devices = collection.table("devices")
        self._counters = collection.table("counters")
        # What was added before `begin`; None: it has begun.
        self._early: dict[DeviceKey, DeviceEntry] | None = {}
        self.programs = {
            direction: collection.program(name, ProgType.SCHED_CLS)
            for direction, name in _FIRST.items()
        }

    def load(self) -> dict[int, int]:
        """Load the later stages; return their descriptors by their slots.

        It may be called in a thread. TccapError where the kernel refuses one.
        """
        stages = [(slot, n) for slot, n in enumerate(STAGES) if n in self._collection]
        load = self._collection.program
        return {slot: load(name, ProgType.SCHED_CLS) for slot, name in stages}

    def begin(self) -> None:
        """Take packets from here on; TccapError as for `load`."""
        self._collection.fill("stages", self.load())
        early, self._early = self._early or {}, None
        for key, entry in early.items():
            self._enter(key, entry)

    def program_inside(self, namespace_id: int, direction: str) -> int:
        """Return a program for devices of another namespace; it is the caller's.

        TccapError where the kernel refuses it.
        """
        numbers: dict[int, int] = {Option.NAMESPACE_ID: namespace_id}
        return self._collection.variant(_FIRST[direction], ProgType.SCHED_CLS, numbers)

    def add_device(self, ifindex: int, entry: DeviceEntry) -> None:
        """Take frames of the device."""
        key = DeviceKey(entry.namespace_id, ifindex)
        if self._early is None:
            self._enter(key, entry)
        else:
            self._early[key] = entry

    def remove_device(self, ifindex: int, namespace_id: int = OWN_NAMESPACE) -> None:
        """Ignore frames of the device."""
        key = DeviceKey(namespace_id, ifindex)
        if self._early is not None:
            self._early.pop(key, None)
            return
        with contextlib.suppress(KeyError):
            del self._devices[self._devices.Key(*key)]
            self._collection.invalidate_lookups()

    def set_wall_offset(self, offset_ns: int) -> None:
        """Set wall clock minus boot clock, in ns, for the times of packets."""
        self._collection.fill("wall_offset", {0: offset_ns})

    def statistics(self, interface_id: int) -> Statistics:
        """Return the interface's counts, over all CPUs."""
        shares = self._counters[self._counters.Key(interface_id)]
        return Statistics(
            received=sum(share.received for share in shares),
            accepted=sum(share.accepted for share in shares),
            dropped=sum(share.dropped for share in shares),
            unattributed=sum(share.unattributed for share in shares),
        )

    def _enter(self, key: DeviceKey, entry: DeviceEntry) -> None:
        self._devices[self._devices.Key(*key)] = self._devices.Leaf(*entry)
        self._collection.invalidate_lookups()
