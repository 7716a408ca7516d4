"""Which container has an address behind a device: a veth end, or a bridge with some.

On a bridge, and on other devices to which packets are forwarded, only their addresses
say whose they are.
"""

import contextlib
import ctypes
import sys
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import netlink
from tccap.host.shares import Shares
from tccap.ipc.status import Warnings, log
from tccap.owners import addresses, neighbourhood
from tccap.owners.addresses import IPNetwork
from tccap.owners.links import Link
from tccap.owners.localroutes import Network
from tccap.stream import abi

_TOO_MANY = (
    "There are more addresses behind bridges and veth pairs than tccap can remember: "
    "on bridges, some packets have no label."
)
_TOO_MANY_OF_ONE = (
    "A container has very many addresses: on bridges, its packets have no label."
)
_ROOM = 16384  # of the map (bpf/owners/places.h)
# What is translated there is asked at each packet, or not known.
_UNKNOWN = abi.TRANSLATED_DESTINATIONS | abi.TRANSLATED_SOURCES


class ContainerAddress(NamedTuple):
    """A key of the map: struct container_address of bpf/abi.h."""

    ifindex: int
    family: int
    address: bytes


class Place(NamedTuple):
    """Where a socket is looked up: struct place of bpf/abi.h."""

    namespace_id: int
    netns: int  # inode number
    ifindex: int  # of the device there
    translation: int
    station: int  # its MAC address, as programs read that from a frame; 0: unknown
    is_alone: bool  # nobody else behind the device here can have the address


_Found = dict[ContainerAddress, Place]


class ContainerAddresses:
    """Keeps the BPF map of their addresses up to date."""

    def __init__(self, collection: Collection) -> None:
        self._table = collection.table("container_addresses")
        self._known: _Found = {}
        self._warnings = Warnings()

    def refresh(self) -> None:
        """Bring the map up to date."""
        try:
            present = self._admitted(_present())
        except OSError as error:
            log("info", f"Addresses behind bridges cannot be read: {error}.")
            present = {}
        kept = dict(self._known.items() & present.items())
        for changed in self._known.keys() - kept.keys():
            with contextlib.suppress(KeyError):
                del self._table[self._key(changed)]
        for one, place in present.items() - kept.items():
            try:
                self._table[self._key(one)] = self._table.Leaf(*place)
            except OSError:  # the map is full
                self._warnings.say(_TOO_MANY)
                break
            kept[one] = place
        self._known = kept

    def _admitted(self, present: _Found) -> _Found:
        """Return them without those of a container that has more than its share."""
        room, admitted = Shares(_ROOM), set()
        counts = Counter(place.netns for place in present.values())
        for netns, count in counts.items():
            if room.has_room(netns, count):
                room.take(netns, count)
                admitted.add(netns)
            else:
                self._warnings.say(_TOO_MANY_OF_ONE)
        return {one: place for one, place in present.items() if place.netns in admitted}

    def _key(self, one: ContainerAddress) -> ctypes.Structure:
        address = (ctypes.c_ubyte * 16)(*one.address)
        key: ctypes.Structure = self._table.Key(one.ifindex, one.family, address)
        return key


def _present() -> _Found:
    """Return the addresses; one address that two containers have is left out."""
    found: dict[ContainerAddress, set[Place]] = {}
    for one, place in _each():
        found.setdefault(one, set()).add(place)
    return {n: places.pop() for n, places in found.items() if len(places) == 1}


def _each() -> Iterator[tuple[ContainerAddress, Place]]:
    """Yield each address of a container, behind its veth end and behind its bridge.

    Not those in a VRF: a lookup there finds sockets of no VRF.
    """
    with netlink.connect() as here:
        all_links, far, outside_vrfs = neighbourhood.read(here)
        own = _own_networks(here, all_links, far.keys())
        for link in all_links:
            if link.far_namespace not in far:
                continue
            other = outside_vrfs[link.far_namespace].get(link.far_ifindex)
            if not other:
                continue
            place = Place(
                link.far_namespace,
                far[link.far_namespace].inode,
                other.ifindex,
                _UNKNOWN,
                int.from_bytes(other.address, sys.byteorder),
                is_alone=True,
            )
            for family, address, _ in _addresses(here, place):
                yield ContainerAddress(link.ifindex, family, address), place
                if link.master:
                    known = ip_address(address)
                    is_alone = any(known in each for each in own[link.master])
                    one = ContainerAddress(link.master, family, address)
                    yield one, place._replace(is_alone=is_alone)


def _own_networks(
    here: netlink.Connection, all_links: Sequence[Link], far: Container[int]
) -> dict[int, set[IPNetwork]]:
    """Return the networks of bridges that have no ports but those of containers.

    There, only another container could have an address that one has, too. Others lead
    to machines, of which nothing is known.
    """
    mixed = {link.master for link in all_links if link.far_namespace not in far}
    networks = addresses.networks_here(here)
    return defaultdict(
        set, {n: found for n, found in networks.items() if n not in mixed}
    )


def _addresses(here: netlink.Connection, place: Place) -> list[Network]:
    try:
        return list(addresses.of_device(here, place.namespace_id, place.ifindex))
    except OSError:
        return []  # it is gone, or the kernel cannot be asked
