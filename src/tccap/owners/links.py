"""The network devices of this namespace, and how they belong together."""

import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tccap.host import netlink

# include/uapi/linux/rtnetlink.h and if_link.h
_RTM_GETLINK = 18
_IFINFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, ifindex, ...
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER = 1, 3, 5, 10
_IFLA_LINKINFO, _IFLA_LINK_NETNSID = 18, 37
_IFLA_INFO_KIND = 1
_IFF_UP = 0x1  # include/uapi/linux/if.h


class Link(NamedTuple):
    """A device as the kernel describes it, and the numbers of those it belongs to."""

    ifindex: int
    kind: str
    lower: int  # 0: none in this namespace
    master: int
    far_namespace: int
    far_ifindex: int
    is_up: bool = True
    name: str = ""  # as os.fsdecode() gives it
    hardware_type: int = 0  # ARPHRD_*
    hardware_address: bytes = b""


def read(here: socket.socket) -> Iterator[Link]:
    """Yield all devices; OSError if the kernel does not answer."""
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0)
    for answer in netlink.ask(here, _RTM_GETLINK, request, dump=True):
        _, hardware_type, ifindex, flags, _ = netlink.unpacked(_IFINFOMSG, answer)
        found = netlink.attributes(answer[_IFINFOMSG.size :])
        info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
        kind = netlink.text(info.get(_IFLA_INFO_KIND, b""))
        namespace = _number(found.get(_IFLA_LINK_NETNSID), -1)
        other = _number(found.get(_IFLA_LINK), 0)
        is_upper = namespace < 0 and kind != "veth"  # which has its other end there
        is_far = namespace >= 0 and kind == "veth"
        yield Link(
            ifindex=ifindex,
            kind=kind,
            lower=other if is_upper else 0,
            master=_number(found.get(_IFLA_MASTER), 0),
            far_namespace=namespace if kind == "veth" else -1,
            far_ifindex=other if is_far else 0,
            is_up=bool(flags & _IFF_UP),
            name=netlink.text(found.get(_IFLA_IFNAME, b"")),
            hardware_type=hardware_type,
            hardware_address=found.get(_IFLA_ADDRESS, b""),
        )


def in_vrfs(all_links: Sequence[Link]) -> set[int]:
    """Return the VRFs, and all that belongs to one, by ifindex.

    The ports of a bridge or bond belong where that belongs.
    """
    masters = {link.ifindex: link.master for link in all_links}
    found = {link.ifindex for link in all_links if link.kind == "vrf"}
    while more := {one for one, above in masters.items() if above in found} - found:
        found |= more
    return found


def _number(data: bytes | None, default: int) -> int:
    return int.from_bytes(data[:4], sys.byteorder, signed=True) if data else default
