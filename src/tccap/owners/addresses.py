"""The addresses of this host, and of the containers whose veth ends are here.

A socket that is bound to no address receives packets for these only. The kernel's own
socket lookup (bpf/owners/socket_lookup.h) does not check that.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import netlink
from tccap.ipc.status import log
from tccap.owners import namespaces

OWN_NAMESPACE = -1
_TOO_MANY = (
    "This host has {} addresses, more than tccap can remember: packets for them have "
    "no label if their socket is bound to no address."
)
_ADDRESS_LENS = {socket.AF_INET: 4, socket.AF_INET6: 16}
# include/uapi/linux/rtnetlink.h and if_addr.h
_RTM_GETADDR = 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_TARGET_NETNSID = 1, 2, 4, 10
_IFADDRMSG = struct.Struct("=B7x")  # struct ifaddrmsg: the family, the rest is 0


class LocalAddress(NamedTuple):
    """A key of the map: struct local_address of bpf/abi.h."""

    namespace_id: int  # the id that our namespace has for it, or OWN_NAMESPACE
    family: int
    address: bytes


class LocalAddresses:
    """Keeps the BPF map of addresses up to date, and the number of our namespace."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._table = collection.table("local_addresses")
        collection.fill("own_netns", {0: namespaces.own_inode()})
        self._known: set[LocalAddress] = set()

    def refresh(self) -> None:
        """Bring the map up to date."""
        present = _present()
        for gone in self._known - present:
            with contextlib.suppress(KeyError):
                del self._table[self._key(gone)]
        self._collection.invalidate_lookups()
        kept = self._known & present
        for new in sorted(present - kept):
            try:
                self._table[self._key(new)] = self._table.Leaf(1)
            except OSError:  # the map is full
                log("warning", _TOO_MANY.format(len(present) - len(kept)))
                break
            kept.add(new)
        self._known = kept

    def _key(self, entry: LocalAddress) -> Any:
        address = (ctypes.c_ubyte * 16)(*entry.address)
        return self._table.Key(entry.namespace_id, entry.family, address)


def _present() -> set[LocalAddress]:
    """Return the addresses of this namespace and of those that it has ids for."""
    with netlink.connect() as here:
        found = _addresses(here, OWN_NAMESPACE)
        for namespace_id in namespaces.far(here):
            try:
                found |= _addresses(here, namespace_id)
            except OSError as error:  # gone, or not supported
                log("info", f"A container's addresses cannot be read: {error}.")
    return found


def _addresses(here: socket.socket, namespace_id: int) -> set[LocalAddress]:
    """Return the addresses in a namespace; OSError if the kernel does not know it.

    Requests name the namespace (IFA_TARGET_NETNSID, Linux 4.20), so that nobody has to
    enter it.
    """
    where = b""
    if namespace_id != OWN_NAMESPACE:
        where = netlink.attribute(_IFA_TARGET_NETNSID, namespace_id)
    found = set()
    for family, address_len in _ADDRESS_LENS.items():
        body = _IFADDRMSG.pack(family) + where
        for answer in netlink.ask(here, _RTM_GETADDR, body, dump=True):
            for address in _of_answer(answer):
                if len(address) == address_len:
                    found.add(LocalAddress(namespace_id, int(family), address))
    return found


def _of_answer(answer: bytes) -> Iterator[bytes]:
    """Yield a device's own address and its broadcast address, if there are any."""
    found = netlink.attributes(answer[_IFADDRMSG.size :])
    # On a point-to-point device IFA_ADDRESS is the far end.
    yield found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
    yield found.get(_IFA_BROADCAST, b"")
