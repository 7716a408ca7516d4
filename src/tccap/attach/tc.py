"""What tc(8) does with clsact qdiscs and their filters, by rtnetlink(7).

OSError carries the errno that the kernel answers with.
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tccap.host import netlink

# include/uapi/linux/rtnetlink.h
_NEW_QDISC, _DELETE_QDISC, _GET_QDISC = 36, 37, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2  # TCA_*
# struct tcmsg: family, ifindex, handle, parent, info
_MESSAGE = struct.Struct("=BxxxiIII")
# include/uapi/linux/pkt_sched.h: TC_H_CLSACT, with its minor numbers
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
# include/uapi/linux/pkt_cls.h: TCA_BPF_*
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_DIRECT_ACTION = 1
ETH_P_ALL = 3  # include/uapi/linux/if_ether.h


class Filter(NamedTuple):
    """A tc filter on a clsact qdisc."""

    ifindex: int
    parent: int  # INGRESS or EGRESS
    priority: int
    protocol: int
    handle: int
    kind: str
    name: str  # of a bpf filter; empty: it has none


def add_clsact(connection: socket.socket, ifindex: int) -> None:
    """Add a clsact qdisc; EEXIST if there is one, or an ingress qdisc."""
    netlink.tell(connection, _NEW_QDISC, _clsact(ifindex), netlink.NEW)


def delete_clsact(connection: socket.socket, ifindex: int) -> None:
    """Remove the clsact qdisc with all its filters."""
    netlink.tell(connection, _DELETE_QDISC, _clsact(ifindex))


def qdisc_kinds(connection: socket.socket, ifindex: int) -> set[str]:
    """Return the kinds of a device's qdiscs. The kernel lists those of all devices."""
    request = _MESSAGE.pack(0, 0, 0, 0, 0)
    answers = netlink.ask(connection, _GET_QDISC, request, dump=True)
    found = ((netlink.unpacked(_MESSAGE, each), _attributes(each)) for each in answers)
    return {_kind(of) for (_, index, *_), of in found if index == ifindex}


def add_bpf(connection: socket.socket, new: Filter, program_fd: int) -> None:
    """Add a bpf filter whose program says what becomes of a packet.

    The kernel chooses the handle.
    """
    options = (
        netlink.attribute(_BPF_FD, program_fd)
        + netlink.attribute(_BPF_NAME, new.name.encode() + b"\0")
        + netlink.attribute(_BPF_FLAGS, _DIRECT_ACTION)
    )
    request = _of_filter(new) + netlink.attribute(_OPTIONS, options)
    netlink.tell(connection, _NEW_FILTER, request, netlink.NEW)


def delete(connection: socket.socket, old: Filter) -> None:
    """Remove a filter."""
    netlink.tell(connection, _DELETE_FILTER, _of_filter(old))


def filters(connection: socket.socket, ifindex: int, parent: int) -> Iterator[Filter]:
    """Yield the filters of a device in one direction.

    For each priority there is also its head, a filter without a handle.
    """
    request = _MESSAGE.pack(0, ifindex, 0, parent, 0)
    for answer in netlink.ask(connection, _GET_FILTER, request, dump=True):
        _, _, handle, _, info = netlink.unpacked(_MESSAGE, answer)
        found = _attributes(answer)
        yield Filter(
            ifindex=ifindex,
            parent=parent,
            priority=info >> 16,
            protocol=socket.ntohs(info & 0xFFFF),
            handle=handle,
            kind=_kind(found),
            name=_name(found) if _kind(found) == "bpf" else "",
        )


def _clsact(ifindex: int) -> bytes:
    message = _MESSAGE.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0)
    return message + netlink.attribute(_KIND, b"clsact\0")


def _of_filter(one: Filter) -> bytes:
    info = one.priority << 16 | socket.htons(one.protocol)
    message = _MESSAGE.pack(0, one.ifindex, one.handle, one.parent, info)
    return message + netlink.attribute(_KIND, one.kind.encode() + b"\0")


def _attributes(answer: bytes) -> dict[int, bytes]:
    return netlink.attributes(answer[_MESSAGE.size :])


def _kind(found: dict[int, bytes]) -> str:
    return netlink.text(found.get(_KIND, b""))


def _name(found: dict[int, bytes]) -> str:
    options = netlink.attributes(found.get(_OPTIONS, b""))
    return netlink.text(options.get(_BPF_NAME, b""))
