"""Network devices as the engine sees them: what they are, and when they change.

A notification only wakes us up; what changed is found by comparing, so bursts of
notifications and lost ones do no harm.
"""

import contextlib
import itertools
import os
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Final, NamedTuple

from tccap.filter import cbpf
from tccap.host import netlink
from tccap.owners import addresses, links, localroutes
from tccap.owners.addresses import Interface
from tccap.owners.links import Link

# In a description: a device can have any number, and the block has to fit into one
# message (ipc/channel.py).
ADDRESSES_MAX: Final = 256
# RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR, _IPV4_ROUTE, _IPV6_ROUTE, _IPV4_RULE, and
# RTNLGRP_IPV6_RULE of include/uapi/linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x100 | 0x40 | 0x400 | 0x80 | 1 << (19 - 1)
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
    ipv4: tuple[IPv4Interface, ...]  # of both together ADDRESSES_MAX
    ipv6: tuple[IPv6Interface, ...]
    speed_bps: int  # 0: unknown
    is_hardware: bool  # a network card, real or emulated
    is_up: bool = True
    is_vrf: bool = False


def names() -> dict[int, str]:
    """Return the name of every device by its ifindex."""
    return dict(socket.if_nameindex())


def describe(ifindexes: set[int], *, has_sys: bool = True) -> list[Device]:
    """Return the devices with these ifindexes, without those that are gone.

    Without ``has_sys``, /sys is of another network namespace than this thread's.
    """
    with netlink.connect() as here:
        found = [link for link in links.read(here) if link.ifindex in ifindexes]
    return [_device(link, _addresses(link), has_sys) for link in found]


class Watch(netlink.Subscription):
    """Becomes readable when a device or an address appears, vanishes or changes.

    That includes routes that make addresses local, and the network namespaces that
    veth pairs lead to.
    """

    def __init__(self) -> None:
        super().__init__(_GROUPS, wanted=_WANTED)


def _addresses(link: Link) -> list[Interface]:
    """Return the addresses of a device, as far as they are told."""
    found: list[Interface] = []
    # The connection is not used again: there may be answers that are not read.
    with netlink.connect() as here, contextlib.suppress(OSError):  # the device is gone
        each = addresses.interfaces(here, link.ifindex)
        found.extend(itertools.islice(each, ADDRESSES_MAX))
    return found


def _device(link: Link, found: list[Interface], has_sys: bool) -> Device:
    name, mac = os.fsdecode(link.name), link.address
    return Device(
        ifindex=link.ifindex,
        name=link.name.decode(errors="backslashreplace"),
        hardware_type=link.hardware_type,
        mac=mac if len(mac) == 6 and any(mac) else b"",
        ipv4=tuple(
            IPv4Interface((a, n)) for f, a, n, _ in found if f == socket.AF_INET
        ),
        ipv6=tuple(
            IPv6Interface((a, n)) for f, a, n, _ in found if f == socket.AF_INET6
        ),
        speed_bps=_speed_bps(name) if has_sys else 0,
        is_hardware=has_sys and Path(f"/sys/class/net/{name}/device").exists(),
        is_vrf=link.kind == "vrf",
        is_up=link.is_up,
    )


def _speed_bps(name: str) -> int:
    try:
        megabits = int(Path(f"/sys/class/net/{name}/speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0  # it is down, or its driver knows no speed
    return max(megabits, 0) * 1_000_000
