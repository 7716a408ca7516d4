"""Whether the addresses of packets are translated (NAT) in a network namespace.

Netfilter does it behind the classifier, so that the socket of a packet's own addresses
may not be the one that receives it. Only rules are looked for, not what they match.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tccap.host import libc, netlink, netns

_NETLINK_NETFILTER = 12
_NFTABLES_GROUP = 1 << 6  # NFNLGRP_NFTABLES
# include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
_GETCHAIN = 10 << 8 | 4
_NFGENMSG_LEN = 4
_CHAIN_HOOK, _CHAIN_USE, _CHAIN_TYPE, _HOOK_NUMBER = 4, 6, 7, 1
_CHAINS_MAX = 16384  # in a container there can be any number
_HOOK_DEVICE, _HOOK_DEVICES = 3, 4
# enum nf_inet_hooks and, of family netdev, enum nf_dev_hooks
_PREROUTING, _POSTROUTING, _INET_INGRESS, _DEVICE_INGRESS = 0, 4, 5, 0
_NFPROTO_INET, _NFPROTO_NETDEV = 1, 5  # include/uapi/linux/netfilter.h
# The kernel has no nf_tables.
_NO_TABLES = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
# include/uapi/linux/netfilter_ipv4/ip_tables.h: struct ipt_getinfo has the name of the
# table, its valid hooks, first entry and policy of each hook, and two more numbers. The
# same in ip6_tables.h.
_GET_INFO = 64
_INFO = struct.Struct("=32sI5I5I2I")
_HOOKS = 5
_IPVS_HEAD_LINES = 3
_LEGACY = (
    ("ip_tables_names", socket.AF_INET, socket.IPPROTO_IP),
    ("ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6),
)


class Watch(netlink.Subscription):
    """Becomes readable when rules of nftables change; `sources` says where.

    OSError where the kernel has no nftables. Nothing reports changes of iptables' own
    tables.
    """

    def __init__(self) -> None:
        super().__init__(_NFTABLES_GROUP, _NETLINK_NETFILTER)


class Translation(NamedTuple):
    """What is translated."""

    of_destinations: bool  # such as published ports
    of_sources: bool  # such as masquerading: answers are translated back
    # Devices by which packets arrive that a chain may change or send elsewhere.
    devices: frozenset[int] = frozenset()
    to_servers: bool = False  # IPVS hands some connections to other addresses


NONE = Translation(of_destinations=False, of_sources=False)
UNKNOWN = Translation(of_destinations=True, of_sources=True)


def here() -> Translation:
    """Return what the network namespace of this thread has rules for.

    UNKNOWN where the kernel does not say.
    """
    try:
        chains = list(_nftables_chains())
        hooks = {*_hooks(chains)}.union(*(_legacy_hooks(*each) for each in _LEGACY))
    except OSError:
        return UNKNOWN
    return Translation(
        _PREROUTING in hooks,
        _POSTROUTING in hooks,
        frozenset(_devices(chains)),
        to_servers=_has_virtual_services(),
    )


def there(path: str) -> Translation | None:
    """Return the same for the network namespace that a file stands for.

    None where it cannot be entered: that takes CAP_SYS_ADMIN.
    """
    try:
        with netns.entered(path):
            return here()
    except OSError:
        return None


def _has_virtual_services() -> bool:
    """Return whether IPVS has any service here, behind the lines of its head."""
    try:
        lines = Path("/proc/thread-self/net/ip_vs").read_text("ascii").splitlines()
    except OSError:  # the kernel has no IPVS
        return False
    return len(lines) > _IPVS_HEAD_LINES


def _legacy_hooks(names: str, family: int, level: int) -> set[int]:
    """Return the hooks at which the table ``nat`` of iptables has rules."""
    try:
        tables = Path("/proc/thread-self/net", names).read_text("ascii").split()
    except FileNotFoundError:
        return set()
    if "nat" not in tables:  # asking for it would make the kernel load it
        return set()
    info = ctypes.create_string_buffer(_INFO.pack(b"nat", *bytes(13)), _INFO.size)
    length = ctypes.c_uint32(_INFO.size)
    with socket.socket(family, socket.SOCK_DGRAM) as any_socket:
        place = (any_socket.fileno(), level, _GET_INFO)
        libc.call("getsockopt", *place, info, ctypes.byref(length))
    _name, _valid, *numbers = _INFO.unpack(info.raw)
    firsts, policies = numbers[:_HOOKS], numbers[_HOOKS : 2 * _HOOKS]
    return {hook for hook in range(_HOOKS) if firsts[hook] != policies[hook]}


class _Chain(NamedTuple):
    """A base chain that has rules."""

    family: int
    is_nat: bool
    hook: int
    devices: list[bytes]  # names


def _nftables_chains() -> Iterator[_Chain]:
    """Yield the base chains of nftables."""
    try:
        with netlink.connect(_NETLINK_NETFILTER, _CHAINS_MAX) as connection:
            body = bytes(_NFGENMSG_LEN)
            for answer in netlink.ask(connection, _GETCHAIN, body, dump=True):
                chain = netlink.attributes(answer[_NFGENMSG_LEN:])
                if _CHAIN_HOOK in chain and any(chain.get(_CHAIN_USE, b"\xff")):
                    yield _chain(answer[0], chain)
    except OSError as error:
        if error.errno not in _NO_TABLES:
            raise


def _chain(family: int, found: dict[int, bytes]) -> _Chain:
    hook = netlink.attributes(found[_CHAIN_HOOK])
    several = netlink.each_attribute(hook.get(_HOOK_DEVICES, b""))
    names = {hook.get(_HOOK_DEVICE, b""), *(name for _, name in several)}
    return _Chain(
        family=family,
        is_nat=found.get(_CHAIN_TYPE, b"").rstrip(b"\0") == b"nat",
        hook=int.from_bytes(hook.get(_HOOK_NUMBER, b""), "big"),
        devices=[name.rstrip(b"\0") for name in names],
    )


def _hooks(chains: list[_Chain]) -> Iterator[int]:
    """Yield the hooks at which chains of type ``nat`` have rules."""
    for chain in chains:
        if chain.is_nat:
            yield chain.hook


def _devices(chains: list[_Chain]) -> Iterator[int]:
    """Yield the devices by which packets arrive that a chain sees before others do."""
    ingress = {(_NFPROTO_INET, _INET_INGRESS), (_NFPROTO_NETDEV, _DEVICE_INGRESS)}
    for chain in chains:
        if (chain.family, chain.hook) in ingress:
            for name in chain.devices:
                with contextlib.suppress(OSError):  # it is gone
                    yield socket.if_nametoindex(os.fsdecode(name))
