"""The network devices of a namespace, and how they belong together."""

import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tccap.host import netlink
from tccap.stream import abi

# include/uapi/linux/rtnetlink.h and if_link.h
_RTM_GETLINK = 18
_IFINFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, ifindex, ...
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER = 1, 3, 5, 10
_IFLA_LINKINFO, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 18, 37, 46
_IFLA_INFO_KIND = 1
# Kinds of devices of which each is an end of a pair; the latter from Linux 6.7 on.
PAIRS = frozenset(("veth", "netkit"))
# Of which several share a lower one, also those of containers.
SHARING = frozenset(("macvlan", "macvtap", "ipvlan", "ipvtap"))
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
    name: bytes = b""
    hardware_type: int = 0  # ARPHRD_*
    address: bytes = b""  # of the link layer


def read(here: netlink.Connection, namespace_id: int | None = None) -> Iterator[Link]:
    """Yield all devices; OSError if the kernel does not answer.

    With ``namespace_id``, those of another namespace, by the id that ours has for it.
    """
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0)
    if namespace_id is not None:
        request += netlink.attribute(_IFLA_TARGET_NETNSID, namespace_id)
    for answer in netlink.ask(here, _RTM_GETLINK, request, dump=True):
        _, hardware, ifindex, flags, _ = netlink.unpacked(_IFINFOMSG, answer)
        found = netlink.attributes(answer[_IFINFOMSG.size :])
        info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
        kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
        namespace = _number(found.get(_IFLA_LINK_NETNSID), -1)
        other = _number(found.get(_IFLA_LINK), 0)
        is_pair = kind in PAIRS  # IFLA_LINK is its other end
        is_upper = namespace < 0 and not is_pair
        is_far = namespace >= 0 and is_pair
        yield Link(
            ifindex=ifindex,
            kind=kind,
            lower=other if is_upper else 0,
            master=_number(found.get(_IFLA_MASTER), 0),
            far_namespace=namespace if is_pair else -1,
            far_ifindex=other if is_far else 0,
            is_up=bool(flags & _IFF_UP),
            name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0"),
            hardware_type=hardware,
            address=found.get(_IFLA_ADDRESS, b""),
        )


def vrfs(all_links: Sequence[Link]) -> dict[int, int]:
    """Return the VRF of each device that belongs to one, by ifindex.

    A VRF belongs to itself, and the ports of a bridge or bond where that belongs.
    """
    found = {link.ifindex: link.ifindex for link in all_links if link.kind == "vrf"}
    masters = {link.ifindex: link.master for link in all_links}
    while more := {
        one: found[master]
        for one, master in masters.items()
        if master in found and one not in found
    }:
        found |= more
    return found


def is_vrf(ifindex: int) -> bool:
    """Return whether a device is a VRF; OSError if the kernel does not answer."""
    with netlink.connect() as here:
        return any(one.kind == "vrf" for one in read(here) if one.ifindex == ifindex)


def members_of_vrf(ifindex: int) -> set[int]:
    """Return the devices that a VRF has as members, by ifindex; OSError, as above."""
    with netlink.connect() as here:
        return {link.ifindex for link in read(here) if link.master == ifindex}


def below_vrfs(all_links: Sequence[Link]) -> dict[int, int]:
    """Return by which devices members of VRFs receive, and which frames.

    That is abi.BELOW_BY_TAG or abi.BELOW, by ifindex.
    """
    pairs = {
        (link.ifindex, link.lower): abi.BELOW_BY_TAG
        if link.kind == "vlan"
        else abi.BELOW
        for link in all_links
    }
    pairs |= {(link.master, link.ifindex): abi.BELOW for link in all_links}
    uppers = {*vrfs(all_links)}
    while more := {lower for upper, lower in pairs if upper in uppers} - uppers - {0}:
        uppers |= more
    found: dict[int, int] = {}
    for (upper, lower), frames in pairs.items():
        if lower and upper in uppers:
            found[lower] = max(frames, found.get(lower, 0))
    return found


def outside_vrfs(here: netlink.Connection, namespace_id: int) -> dict[int, Link]:
    """Return the devices of another namespace that have to do with no VRF, by ifindex.

    That is, they belong to none, and no member of one receives by them. Empty if the
    kernel does not say.
    """
    try:
        there = list(read(here, namespace_id))
    except OSError:
        return {}
    concerned = vrfs(there).keys() | below_vrfs(there).keys()
    return {link.ifindex: link for link in there if link.ifindex not in concerned}


def _number(data: bytes | None, default: int) -> int:
    return int.from_bytes(data[:4], sys.byteorder, signed=True) if data else default
