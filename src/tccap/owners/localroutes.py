"""What the kernel's routes make local: addresses, whole networks, and broadcasts.

A route of type ``local`` needs no device that has its addresses (AnyIP).
"""

import enum
import errno
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import NamedTuple

from tccap.host import netlink

ADDRESS_BITS = {socket.AF_INET: 32, socket.AF_INET6: 128}
# include/uapi/linux/rtnetlink.h
_RTM_GETROUTE = 26
_RTMSG = struct.Struct("=8BI")  # struct rtmsg: family, lengths, TOS, table, ..., flags
_RTN_LOCAL, _RTN_BROADCAST = 2, 3
_RTNH_F_DEAD = 1
_RTA_DST, _RTA_OIF = 1, 4
MAIN, LOCAL = 254, 255  # RT_TABLE_*
# include/uapi/linux/fib_rules.h; struct fib_rule_hdr is laid out as struct rtmsg.
_RTM_GETRULE = 34
_FR_ACT_TO_TBL = 1
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_L3MDEV = 6, 10, 15, 19
# These do not select packets; the latter two: FRA_SUPPRESS_PREFIXLEN and FRA_PROTOCOL.
_NO_SELECTORS = {_FRA_PRIORITY, _FRA_TABLE, 14, 21}
# The kernel was built without such rules.
_NO_RULES = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
# Changes of shorter prefixes in the main table are too many to follow: a router may
# have a million of them. So larger local networks do not count (engine/devices.py).
PREFIX_MIN = 24


class Kind(enum.IntEnum):
    """What an address is: NOT_LOCAL, ... of bpf/abi.h."""

    NOT_LOCAL = 0
    UNICAST = 1
    BROADCAST = 2


_KINDS = {_RTN_LOCAL: Kind.UNICAST, _RTN_BROADCAST: Kind.BROADCAST}


# Of lo, by which a host's packets to itself pass, in each namespace.
_LOOPBACK_IFINDEX = 1  # include/net/net_namespace.h
_IFINDEX_AT = 4  # in a link-local address, where it has zeros (RFC 4291, section 2.5.6)


class Network(NamedTuple):
    """A network, or a single address.

    A link-local address of IPv6 has the number of its device in it (`of_devices`).
    """

    family: int
    address: bytes
    prefix_len: int


def of_devices(network: Network, ifindex: int) -> list[Network]:
    """Return what is local where a device has an address or network: that, as a rule.

    Packets for its link-local address come by that device, or by lo.
    """
    if network.family != socket.AF_INET6 or not _is_link_local(network.address):
        return [network]
    found = []
    for number in (ifindex, _LOOPBACK_IFINDEX):
        head, rest = network.address[:_IFINDEX_AT], network.address[_IFINDEX_AT + 4 :]
        address = head + (number & 0xFFFFFFFF).to_bytes(4, sys.byteorder) + rest
        found.append(network._replace(address=address))
    return found


def _is_link_local(address: bytes) -> bool:
    return IPv6Address(address).is_link_local


def read(here: netlink.Connection) -> dict[Network, Kind]:
    """Return what is local in our network namespace.

    The longest prefix counts, and NOT_LOCAL is an exception. Nothing is where rules
    (ip-rule(8)) may come before the local table. OSError if the kernel refuses the
    question.
    """
    found: dict[Network, Kind] = {}
    for family in ADDRESS_BITS:
        if not _is_first(here, family):
            continue
        for network, kind in _routes(here, family, LOCAL):
            # Several routes may differ by TOS or metric.
            same = found.get(network, kind) == kind
            found[network] = kind if same else Kind.NOT_LOCAL
    found = {network: kind for network, kind in found.items() if _counts(network)}
    if any(_may_have_exceptions(network) for network in found):
        main = (network for network, _ in _routes(here, socket.AF_INET, MAIN))
        exceptions = dict.fromkeys(filter(_is_followed, main), Kind.NOT_LOCAL)
        return exceptions | found
    return found


class _Rule(NamedTuple):
    priority: int
    is_local: bool  # it looks everything up in the local table
    # It concerns packets that no chain here has marked, and that come by no VRF.
    concerns_any: bool


def _rules(here: netlink.Connection, family: int) -> Iterator[_Rule]:
    request = _RTMSG.pack(family, *bytes(8))
    for answer in netlink.ask(here, _RTM_GETRULE, request, dump=True):
        fields = netlink.unpacked(_RTMSG, answer)
        _, to_len, from_len, tos, table, _, _, action, _ = fields
        found = netlink.attributes(answer[_RTMSG.size :])
        selects = bool(to_len or from_len or tos or found.keys() - _NO_SELECTORS)
        yield _Rule(
            priority=int.from_bytes(found.get(_FRA_PRIORITY, b"")[:4], sys.byteorder),
            is_local=not selects and (table, action) == (LOCAL, _FR_ACT_TO_TBL),
            concerns_any=not found.keys() & {_FRA_FWMARK, _FRA_L3MDEV},
        )


def _is_first(here: netlink.Connection, family: int) -> bool:
    """Return whether the local table is asked before any other."""
    try:
        rules = list(_rules(here, family))
    except OSError as error:
        if error.errno in _NO_RULES:
            return True
        raise
    local = [rule.priority for rule in rules if rule.is_local]
    others = (rule.priority for rule in rules if rule.concerns_any)
    return bool(local) and min(local) <= min(others)


def _counts(network: Network) -> bool:
    return network.family == socket.AF_INET6 or network.prefix_len >= PREFIX_MIN


def _may_have_exceptions(network: Network) -> bool:
    """Return whether longer prefixes of the main table may come before this network.

    In IPv4 the kernel joins the two tables if it has no rules for routing but its own
    (net/ipv4/fib_trie.c).
    """
    return network.family == socket.AF_INET and network.prefix_len < 32


def _is_followed(network: Network) -> bool:
    return network.prefix_len > PREFIX_MIN


def _routes(
    here: netlink.Connection, family: int, table: int
) -> Iterator[tuple[Network, Kind]]:
    request = _RTMSG.pack(family, 0, 0, 0, table, 0, 0, 0, 0)
    everywhere = bytes(ADDRESS_BITS[socket.AddressFamily(family)] // 8)
    for answer in netlink.ask(here, _RTM_GETROUTE, request, dump=True):
        fields = netlink.unpacked(_RTMSG, answer)
        _, length, from_len, tos, table_id, _, _, kind, flags = fields
        if table_id == table:
            found = netlink.attributes(answer[_RTMSG.size :])
            is_sure = not (from_len or tos or flags & _RTNH_F_DEAD)
            whole = Network(family, found.get(_RTA_DST, everywhere), length)
            device = int.from_bytes(found.get(_RTA_OIF, b"")[:4], sys.byteorder)
            for network in of_devices(whole, device):
                yield (
                    network,
                    _KINDS.get(kind, Kind.NOT_LOCAL) if is_sure else Kind.NOT_LOCAL,
                )
