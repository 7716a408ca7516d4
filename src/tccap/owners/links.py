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
_IFLA_ADDRESS, _IFLA_TARGET_NETNSID = 1, 46
_IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 5, 10, 18, 37
_IFLA_INFO_KIND = 1
# Kinds of devices of which each is an end of a pair; the latter from Linux 6.7 on.
PAIRS = frozenset(("veth", "netkit"))
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


def read(here: socket.socket) -> Iterator[Link]:
    """Yield all devices; OSError if the kernel does not answer."""
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0)
    for answer in netlink.ask(here, _RTM_GETLINK, request, dump=True):
        _, _, ifindex, flags, _ = netlink.unpacked(_IFINFOMSG, answer)
        found = netlink.attributes(answer[_IFINFOMSG.size :])
        info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
        kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
        namespace = _number(found.get(_IFLA_LINK_NETNSID), -1)
        other = _number(found.get(_IFLA_LINK), 0)
        is_upper = (
            namespace < 0 and kind not in PAIRS
        )  # they have their other end there
        is_far = namespace >= 0 and kind in PAIRS
        yield Link(
            ifindex=ifindex,
            kind=kind,
            lower=other if is_upper else 0,
            master=_number(found.get(_IFLA_MASTER), 0),
            far_namespace=namespace if kind in PAIRS else -1,
            far_ifindex=other if is_far else 0,
            is_up=bool(flags & _IFF_UP),
        )


def station(here: socket.socket, namespace_id: int, ifindex: int) -> bytes:
    """Return the address in frames (MAC) of a device in another namespace.

    OSError as above.
    """
    request = _IFINFOMSG.pack(0, 0, ifindex, 0, 0)
    request += netlink.attribute(_IFLA_TARGET_NETNSID, namespace_id)
    for answer in netlink.ask(here, _RTM_GETLINK, request):
        return netlink.attributes(answer[_IFINFOMSG.size :]).get(_IFLA_ADDRESS, b"")
    return b""


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
