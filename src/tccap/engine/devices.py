"""Network devices as the engine sees them: what they are, and when they change.

A notification only wakes us up; what changed is found by comparing, so bursts of
notifications and lost ones do no harm.
"""

import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import NamedTuple

from tccap.filter import cbpf
from tccap.host import netlink
from tccap.owners import links, localroutes
from tccap.owners.links import Link

_RTM_GETADDR = 22
_IFADDRMSG = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, ...
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
# RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR, _IPV4_ROUTE and _IPV6_ROUTE of
# include/uapi/linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x100 | 0x40 | 0x400
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
# Offsets in a message: struct nlmsghdr, then struct rtmsg.
_TYPE, _FAMILY, _PREFIX_LEN, _TABLE = 4, 16, 17, 20
_ACCEPT, _DISCARD = 0xFFFF, 0


def _load(at: int) -> bytes:
    return struct.pack("=HBBI", cbpf.LD | cbpf.BYTE | cbpf.ABS, 0, 0, at)


def _if(operation: int, number: int, then: int, otherwise: int) -> bytes:
    """Compare the byte that was loaded, and skip instructions."""
    return struct.pack("=HBBI", cbpf.JMP | operation, then, otherwise, number)


def _return(value: int) -> bytes:
    return struct.pack("=HBBI", cbpf.RET, 0, 0, value)


# Of routes, only those that change what is local (owners/localroutes.py): there may be
# thousands of others in a second.
_WANTED = (
    _load(_TYPE),
    _if(cbpf.JEQ, _RTM_NEWROUTE, 1, 0),
    _if(cbpf.JEQ, _RTM_DELROUTE, 0, 7),
    _load(_TABLE),
    _if(cbpf.JEQ, localroutes.LOCAL, 5, 0),
    _if(cbpf.JEQ, localroutes.MAIN, 0, 5),
    _load(_FAMILY),
    _if(cbpf.JEQ, socket.AF_INET, 0, 3),
    _load(_PREFIX_LEN),
    _if(cbpf.JGT, localroutes.PREFIX_MIN, 0, 1),
    _return(_ACCEPT),
    _return(_DISCARD),
)


class Device(NamedTuple):
    """A network device."""

    ifindex: int
    name: str  # bytes that are not UTF-8 are escaped
    hardware_type: int  # ARPHRD_*
    mac: bytes  # empty: it has none
    ipv4: tuple[IPv4Interface, ...]
    ipv6: tuple[IPv6Interface, ...]
    speed_bps: int  # 0: unknown
    is_hardware: bool  # a network card, real or emulated
    is_up: bool = True
    is_vrf: bool = False


_Address = IPv4Interface | IPv6Interface
_FAMILIES: dict[int, type[_Address]] = {
    socket.AF_INET: IPv4Interface,
    socket.AF_INET6: IPv6Interface,
}


def names() -> dict[int, str]:
    """Return the name of every device by its ifindex."""
    return dict(socket.if_nameindex())


def describe(ifindexes: set[int], *, has_sys: bool = True) -> list[Device]:
    """Return the devices with these ifindexes, without those that are gone.

    Without ``has_sys``, /sys is of another network namespace than this thread's.
    """
    with netlink.connect() as here:
        found = [link for link in links.read(here) if link.ifindex in ifindexes]
        addresses = defaultdict(list)
        for ifindex, address in _addresses(here):
            addresses[ifindex].append(address)
    return [_device(link, addresses[link.ifindex], has_sys) for link in found]


class Watch(netlink.Subscription):
    """Becomes readable when a device or an address appears, vanishes or changes.

    That includes routes that make addresses local, and the network namespaces that
    veth pairs lead to.
    """

    def __init__(self) -> None:
        super().__init__(_GROUPS, wanted=_WANTED)


def _device(link: Link, addresses: list[_Address], has_sys: bool) -> Device:
    mac = link.hardware_address
    return Device(
        ifindex=link.ifindex,
        name=os.fsencode(link.name).decode(errors="backslashreplace"),
        hardware_type=link.hardware_type,
        mac=mac if len(mac) == 6 and any(mac) else b"",
        ipv4=tuple(a for a in addresses if isinstance(a, IPv4Interface)),
        ipv6=tuple(a for a in addresses if isinstance(a, IPv6Interface)),
        speed_bps=_speed_bps(link.name) if has_sys else 0,
        is_hardware=has_sys and Path(f"/sys/class/net/{link.name}/device").exists(),
        is_vrf=link.kind == "vrf",
        is_up=link.is_up,
    )


def _addresses(here: socket.socket) -> Iterator[tuple[int, _Address]]:
    """Yield all addresses of devices, each with the device's ifindex."""
    for family, kind in _FAMILIES.items():
        request = _IFADDRMSG.pack(family, 0, 0, 0, 0)
        for answer in netlink.ask(here, _RTM_GETADDR, request, dump=True):
            of, prefix_len, _, _, ifindex = netlink.unpacked(_IFADDRMSG, answer)
            found = netlink.attributes(answer[_IFADDRMSG.size :])
            # On a point-to-point device IFA_ADDRESS is the far end.
            address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
            if of == family and address:  # a kernel without IPv6 lists IPv4 again
                yield ifindex, kind((address, prefix_len))


def _speed_bps(name: str) -> int:
    try:
        megabits = int(Path(f"/sys/class/net/{name}/speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0  # it is down, or its driver knows no speed
    return max(megabits, 0) * 1_000_000
