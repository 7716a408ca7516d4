"""Which container has an address behind a device: a veth end, or a bridge with some.

On a bridge, and on other devices to which packets are forwarded, only their addresses
say whose they are.
"""

import contextlib
import ctypes
import socket
import sys
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import netlink
from tccap.ipc.status import log
from tccap.owners import addresses, links, namespaces
from tccap.owners.addresses import IPNetwork
from tccap.owners.links import Link
from tccap.owners.localroutes import Network
from tccap.stream import abi

_TOO_MANY = (
    "There are {} addresses behind bridges and veth pairs, more than tccap can "
    "remember: on bridges, some packets have no label."
)
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

    def refresh(self) -> None:
        """Bring the map up to date."""
        try:
            present = _present()
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
                log("warning", _TOO_MANY.format(len(present)))
                break
            kept[one] = place
        self._known = kept

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
    """Yield each address of a container, behind its veth end and behind its bridge."""
    with netlink.connect() as here:
        all_links = list(links.read(here))
        veths = [link for link in all_links if link.far_namespace >= 0]
        far = namespaces.far(here) if veths else {}
        own = _own_networks(here, all_links, far.keys())
        for link in veths:
            if link.far_namespace in far:
                inode = far[link.far_namespace].inode
                networks, station = _there(here, link)
                place = Place(
                    link.far_namespace,
                    inode,
                    link.far_ifindex,
                    _UNKNOWN,
                    station,
                    is_alone=True,
                )
                for family, address, _ in networks:
                    yield ContainerAddress(link.ifindex, family, address), place
                    if link.master:
                        known = ip_address(address)
                        is_alone = any(known in each for each in own[link.master])
                        one = ContainerAddress(link.master, family, address)
                        yield one, place._replace(is_alone=is_alone)


def _own_networks(
    here: socket.socket, all_links: Sequence[Link], far: Container[int]
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


def _there(here: socket.socket, link: Link) -> tuple[list[Network], int]:
    """Return the addresses of the other end of a veth pair, and its station."""
    try:
        networks = list(addresses.of_device(here, link.far_namespace, link.far_ifindex))
        mac = links.station(here, link.far_namespace, link.far_ifindex)
    except OSError:
        return [], 0  # it is gone, or the kernel cannot be asked
    return networks, int.from_bytes(mac, sys.byteorder)
