"""The addresses of this host, and of the containers whose veth ends are here.

A socket that is not connected receives packets for these only. The kernel's own socket
lookup (bpf/owners/socket_lookup.h) does not check that.
"""

import contextlib
import ctypes
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_network
from typing import Any, Final, NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import netlink
from tccap.host.shares import Shares, Whose
from tccap.ipc.status import Warnings, log
from tccap.owners import localroutes, namespaces
from tccap.owners.localroutes import ADDRESS_BITS, Kind, Network

IPNetwork = IPv4Network | IPv6Network
OWN_NAMESPACE = -1
# Of the 16384 in the map (bpf/owners/local_addresses.h): so many for containers as they
# are seen from here, and so many for those that are captured from inside.
OF_CONTAINERS: Final = 4096
_TOO_MANY = (
    "This host has {} addresses, more than tccap can remember: packets for them have "
    "no receiver if their socket is not connected."
)
_TOO_MANY_OF_ONE = (
    "A container has very many addresses: packets for them have no receiver if their "
    "socket is not connected."
)
_KEY_BITS = 64  # of a key before its address: KEY_BITS of bpf/owners/local_addresses.h
# include/uapi/linux/rtnetlink.h and if_addr.h
_RTM_GETADDR = 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_TARGET_NETNSID = 1, 2, 4, 10
_IFADDRMSG = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, ...
_NO_BROADCAST = 31  # networks of such a prefix length and of longer ones


class LocalNetwork(NamedTuple):
    """A key of the map: struct local_network of bpf/abi.h."""

    prefix_len: int
    # The id that our namespace has for it, OWN_NAMESPACE, or less: one that is captured
    # from inside.
    namespace_id: int
    family: int
    address: bytes


Found = dict[LocalNetwork, Kind]


class AddressTable:
    """Some of the entries in the BPF map of addresses."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._table = collection.table("local_networks")
        self._known: Found = {}
        self._warnings = Warnings()

    def admitted(self, each: Iterable[tuple[Whose, Found]]) -> Found:
        """Return those entries of containers for which there is room.

        They are somebody's, who can have any number of addresses: all of a container
        are returned, or none.
        """
        present: Found = {}
        room = Shares(OF_CONTAINERS)
        for whose, found in each:
            if room.has_room(whose, len(found)):
                room.take(whose, len(found))
                present |= found
            else:
                self._warnings.say(_TOO_MANY_OF_ONE)
        return present

    def replace(self, present: Found) -> None:
        """Have these entries instead of those of the last call."""
        for gone in self._known.keys() - present.keys():
            with contextlib.suppress(KeyError):
                del self._table[self._key(gone)]
        kept = dict(self._known.items() & present.items())
        # Exceptions first: a network that counts without them would be wrong.
        new = sorted(present.items() - kept.items(), key=lambda entry: entry[::-1])
        for entry, kind in new:
            try:
                self._table[self._key(entry)] = self._table.Leaf(kind)
            except OSError:  # the map is full
                self._warnings.say(_TOO_MANY.format(len(present)))
                break
            kept[entry] = kind
        self._known = kept
        self._collection.invalidate_lookups()

    def _key(self, entry: LocalNetwork) -> Any:
        address = (ctypes.c_ubyte * 16)(*entry.address)
        return self._table.Key(
            entry.prefix_len, entry.namespace_id, entry.family, address
        )


class LocalAddresses(AddressTable):
    """Keeps the BPF map of addresses up to date, and the number of our namespace."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection)
        collection.fill("own_netns", {0: namespaces.own_inode()})

    def refresh(self) -> None:
        """Bring the map up to date."""
        with netlink.connect() as here:
            own = entries(localroutes.read(here), OWN_NAMESPACE)
            self.replace(own | self.admitted(_of_others(here)))


def _of_others(here: netlink.Connection) -> Iterator[tuple[Whose, Found]]:
    """Yield the entries of each namespace that ours has an id for.

    Of these only devices' addresses can be asked for, not routes.
    """
    for namespace_id in namespaces.far(here):
        try:
            networks = {
                local: each.kind
                for each in _addresses(here, namespace_id)
                for local in localroutes.of_devices(each.network, each.ifindex)
            }
        except OSError as error:  # gone, or not supported
            log("info", f"A container's addresses cannot be read: {error}.")
        else:
            yield namespace_id, entries(networks, namespace_id)


def entries(networks: dict[Network, Kind], namespace_id: int) -> Found:
    """Return the entries for what is local in a namespace."""
    return {
        LocalNetwork(_KEY_BITS + length, namespace_id, family, address): kind
        for (family, address, length), kind in networks.items()
    }


class _Address(NamedTuple):
    network: Network
    kind: Kind
    ifindex: int  # of the device that has it


def _addresses(
    here: netlink.Connection, namespace_id: int, ifindex: int = 0
) -> list[_Address]:
    """Return the addresses in another namespace; OSError if the kernel knows none.

    With ``ifindex``, of one device there.
    Requests name the namespace (IFA_TARGET_NETNSID, Linux 4.20), so that nobody has to
    enter it.
    """
    found: list[_Address] = []
    for family, bits in ADDRESS_BITS.items():
        body = _IFADDRMSG.pack(family, 0, 0, 0, ifindex)
        body += netlink.attribute(_IFA_TARGET_NETNSID, namespace_id)
        for answer in netlink.ask(here, _RTM_GETADDR, body, dump=True):
            device = netlink.unpacked(_IFADDRMSG, answer)[-1]
            for address, kind in _of_answer(answer):
                if len(address) * 8 == bits:
                    network = Network(int(family), address, bits)
                    found.append(_Address(network, kind, device))
    return found


class Interface(NamedTuple):
    """An address of a device, and the prefix length of its network."""

    family: int
    address: bytes
    prefix_len: int
    ifindex: int


def interfaces(here: netlink.Connection, ifindex: int = 0) -> Iterator[Interface]:
    """Yield the addresses of a device of our namespace, or of all; OSError."""
    for family, bits in ADDRESS_BITS.items():
        body = _IFADDRMSG.pack(family, 0, 0, 0, ifindex)
        for answer in netlink.ask(here, _RTM_GETADDR, body, dump=True):
            _, prefix_len, _, _, device = netlink.unpacked(_IFADDRMSG, answer)
            for address, kind in _of_answer(answer):
                if kind is Kind.UNICAST and len(address) * 8 == bits >= prefix_len:
                    yield Interface(int(family), address, prefix_len, device)


def networks_here(here: netlink.Connection) -> dict[int, set[IPNetwork]]:
    """Return the networks that the devices of our namespace are on, by ifindex."""
    found: dict[int, set[IPNetwork]] = defaultdict(set)
    for _, address, prefix_len, ifindex in interfaces(here):
        found[ifindex].add(ip_network((address, prefix_len), strict=False))
    return found


def of_device(
    here: netlink.Connection, namespace_id: int, ifindex: int
) -> Iterator[Network]:
    """Yield the addresses of a device in another namespace; OSError as above."""
    for each in _addresses(here, namespace_id, ifindex):
        if each.kind is Kind.UNICAST:
            yield each.network


def _of_answer(answer: bytes) -> Iterator[tuple[bytes, Kind]]:
    """Yield the broadcast addresses of a device's address, if any, then the address."""
    family, prefix_len, *_ = netlink.unpacked(_IFADDRMSG, answer)
    found = netlink.attributes(answer[_IFADDRMSG.size :])
    # On a point-to-point device IFA_ADDRESS is the far end.
    address = found.get(_IFA_ADDRESS, b"")
    yield found.get(_IFA_BROADCAST, b""), Kind.BROADCAST
    if family == socket.AF_INET and address and prefix_len < _NO_BROADCAST:
        # The kernel has a route for this one, too (fib_add_ifaddr).
        network = IPv4Interface((address, prefix_len)).network
        yield network.broadcast_address.packed, Kind.BROADCAST
    yield found.get(_IFA_LOCAL) or address, Kind.UNICAST
