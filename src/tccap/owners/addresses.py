"""The addresses of this host, and of the containers whose veth ends are here.

A socket that is bound to no address takes packets for these only; the kernel's own
lookup of sockets (bpf/owners/socket_lookup.h) does not check that.

This speaks netlink directly: given a namespace's id (IFA_TARGET_NETNSID, Linux 4.20)
the kernel lists its addresses, while pyroute2 would enter the namespace.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import proc
from tccap.host.cpus import not_preempted
from tccap.ipc.status import log

OWN_NAMESPACE = -1
_NAMED = ("/run/netns", "/run/docker/netns")
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12
_TOO_MANY = (
    "{} addresses of this host are too many to remember: packets for them have no "
    "label if their socket is bound to no address."
)
_HEADER_LEN = 16  # struct nlmsghdr
_ADDRESS_LENS = {socket.AF_INET: 4, socket.AF_INET6: 16}
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_GETADDR, _RTM_GETNSID = 22, 90
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_TARGET_NETNSID = 1, 2, 4, 10
_NETNSA_NSID, _NETNSA_FD = 1, 3


class LocalAddress(NamedTuple):
    """An entry of the table: struct local_address of bpf/abi.h."""

    namespace_id: int
    family: int
    address: bytes


class LocalAddresses:
    """Keeps the kernel's table of addresses, and the number of our namespace."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._table = collection.table("local_addresses")
        collection.fill("own_netns", {0: _own_namespace()})
        self._known: set[LocalAddress] = set()

    def refresh(self) -> None:
        """Bring the table up to date."""
        present = _present()
        with not_preempted():
            for gone in self._known - present:
                with contextlib.suppress(KeyError):
                    del self._table[self._key(gone)]
            self._collection.invalidate_lookups()
            kept = self._known & present
            for new in sorted(present - kept):
                try:
                    self._table[self._key(new)] = self._table.Leaf(1)
                except OSError:  # the table is full
                    log("warning", _TOO_MANY.format(len(present) - len(kept)))
                    break
                kept.add(new)
        self._known = kept

    def _key(self, entry: LocalAddress) -> Any:
        address = (ctypes.c_ubyte * 16)(*entry.address)
        return self._table.Key(entry.namespace_id, entry.family, address)


def _present() -> set[LocalAddress]:
    """Return the addresses of this namespace and of those that it has ids for."""
    with _netlink() as here:
        found = _addresses(here, OWN_NAMESPACE)
        for namespace_id in _far_namespaces(here):
            try:
                found |= _addresses(here, namespace_id)
            except OSError as error:  # gone again, or the kernel does not say
                log("info", f"A container's addresses are not known: {error}.")
    return found


def _own_namespace() -> int:
    """Return the inode number of our network namespace."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116  # a link


def _far_namespaces(here: socket.socket) -> Iterator[int]:
    """Yield the ids that our namespace has for others."""
    seen = {_own_namespace()}
    for path in _namespace_files():
        with contextlib.suppress(OSError):
            number = os.stat(path).st_ino  # noqa: PTH116  # a link
            if number in seen:
                continue
            seen.add(number)
            with open(path, "rb") as namespace:  # noqa: PTH123  # a link
                namespace_id = _namespace_id(here, namespace.fileno())
                if namespace_id >= 0:
                    yield namespace_id


def _namespace_files() -> Iterator[str]:
    """Yield files of namespaces, with processes in them or none yet."""
    for pid in proc.pids():
        yield f"/proc/{pid}/ns/net"
    for folder in _NAMED:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  # as above
                yield f"{folder}/{name}"


def _namespace_id(here: socket.socket, namespace_fd: int) -> int:
    """Return the id that our namespace has for another one; -1: none."""
    body = struct.pack("=B3xHHI", 0, 8, _NETNSA_FD, namespace_fd)
    for answer in _ask(here, _RTM_GETNSID, 0, body):
        number = _attributes(answer[4:]).get(_NETNSA_NSID, b"\xff" * 4)
        return int.from_bytes(number[:4], sys.byteorder, signed=True)
    return -1


def _addresses(netlink: socket.socket, namespace_id: int) -> set[LocalAddress]:
    there = b""
    if namespace_id != OWN_NAMESPACE:
        there = struct.pack("=HHi", 8, _IFA_TARGET_NETNSID, namespace_id)
    found = set()
    for family, address_len in _ADDRESS_LENS.items():
        body = struct.pack("=B7x", family) + there
        for answer in _ask(netlink, _RTM_GETADDR, _NLM_F_DUMP, body):
            given = _attributes(answer[8:])
            # On a point-to-point device IFA_ADDRESS is the far end.
            own = given.get(_IFA_LOCAL) or given.get(_IFA_ADDRESS)
            for address in (own, given.get(_IFA_BROADCAST)):
                if address and len(address) == address_len:
                    found.add(LocalAddress(namespace_id, int(family), address))
    return found


def _netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    # Without this the kernel ignores what follows the header of a request.
    netlink.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
    return netlink


def _ask(
    netlink: socket.socket, request: int, flags: int, body: bytes
) -> Iterator[bytes]:
    """Yield the bodies of the answers to a request."""
    header = struct.pack(
        "=IHHII", 16 + len(body), request, _NLM_F_REQUEST | flags, 0, 0
    )
    netlink.send(header + body)
    while True:
        data = netlink.recv(1 << 16)
        while data:
            length, kind = _header(data)
            if kind == _NLMSG_ERROR:
                code = -int.from_bytes(data[16:20], sys.byteorder, signed=True)
                raise OSError(code, os.strerror(code))
            if kind == _NLMSG_DONE:
                return
            yield data[16:length]
            data = data[(length + 3) & ~3 :]
        if not flags:
            return


def _header(message: bytes) -> tuple[int, int]:
    """Return length and type; OSError if it is not a netlink message."""
    if len(message) >= _HEADER_LEN:
        length, kind = struct.unpack_from("=IH", message)
        if _HEADER_LEN <= length <= len(message):
            return length, kind
    raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
