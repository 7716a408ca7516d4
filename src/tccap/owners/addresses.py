"""The addresses of this host, and of the containers whose veth ends are here.

A socket that is not connected receives packets for these only. The kernel's own socket
lookup (bpf/owners/socket_lookup.h) does not check that.
"""

import contextlib
import ctypes
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import netlink
from tccap.ipc.status import log
from tccap.owners import localroutes, namespaces
from tccap.owners.localroutes import ADDRESS_BITS, Kind, Network

IPNetwork = IPv4Network | IPv6Network
OWN_NAMESPACE = -1
_TOO_MANY = (
    "This host has {} addresses, more than tccap can remember: packets for them have "
    "no receiver if their socket is not connected."
)
# So many of one are remembered: a container may add addresses, and others need room.
PER_NAMESPACE = 128
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
                log("warning", _TOO_MANY.format(len(present)))
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
        self.replace(_present())


def _present() -> Found:
    """Return the addresses of this namespace and of those that it has ids for.

    Of other namespaces only devices' addresses can be asked for, not routes.
    """
    with netlink.connect() as here:
        found = entries(localroutes.read(here), OWN_NAMESPACE)
        for namespace_id in namespaces.far(here):
            try:
                networks = {
                    local: each.kind
                    for each in _addresses(here, namespace_id)
                    for local in localroutes.of_devices(each.network, each.ifindex)
                }
                found |= entries(networks, namespace_id)
            except OSError as error:  # gone, or not supported
                log("info", f"A container's addresses cannot be read: {error}.")
    return found


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
    here: socket.socket, namespace_id: int, ifindex: int = 0
) -> list[_Address]:
    """Return the first addresses in another namespace; OSError if it is not known.

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
                if len(address) * 8 == bits and len(found) < PER_NAMESPACE:
                    network = Network(int(family), address, bits)
                    found.append(_Address(network, kind, device))
    return found


def of_device(
    here: socket.socket, namespace_id: int, ifindex: int
) -> Iterator[Network]:
    """Yield the addresses of a device in another namespace; OSError as above."""
    for each in _addresses(here, namespace_id, ifindex):
        if each.kind is Kind.UNICAST:
            yield each.network


def networks_here(here: socket.socket) -> dict[int, set[IPNetwork]]:
    """Return the networks that the devices of our namespace are on, by ifindex."""
    found = defaultdict(set)
    for family, bits in ADDRESS_BITS.items():
        body = _IFADDRMSG.pack(family, 0, 0, 0, 0)
        for answer in netlink.ask(here, _RTM_GETADDR, body, dump=True):
            _, prefix_len, _, _, ifindex = netlink.unpacked(_IFADDRMSG, answer)
            address = netlink.attributes(answer[_IFADDRMSG.size :]).get(_IFA_ADDRESS)
            if address and len(address) * 8 == bits and prefix_len <= bits:
                network = ip_network((address, prefix_len), strict=False)
                found[ifindex].add(network)
    return found


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
