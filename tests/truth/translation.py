"""Address translation and forwarding, by nftables, while a case runs."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

from support.netns import Namespace
from truth.network import BRIDGED, OUTSIDE

MASQUERADE = f"oifname {OUTSIDE} ip saddr {BRIDGED} masquerade"
_HOOKS = {
    "prerouting": "type nat hook prerouting priority dstnat",
    "postrouting": "type nat hook postrouting priority srcnat",
    "output": "type filter hook output priority raw",
    "input": "type filter hook prerouting priority raw",
    "mangle": "type filter hook prerouting priority mangle",
    "local": "type nat hook output priority -100",
    "inward": "type nat hook input priority 100",
    "leaving": "type filter hook postrouting priority srcnat + 10",
}
# include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
_NETLINK_NETFILTER, _DELETE = 12, 1 << 8 | 2
_REQUEST_AND_ACK = 5


@contextlib.contextmanager
def rules(
    space: Namespace, name: str, family: str = "ip", **chains: str
) -> Iterator[None]:
    """Have a table of rules while the block runs; the chains are those of _HOOKS."""
    text = "".join(
        f"chain {chain} {{ {_HOOKS[chain]}; {rule}\n }}\n"
        for chain, rule in chains.items()
    )
    _nft(space, f"table {family} case-{name} {{ {text} }}")
    try:
        yield
    finally:
        _nft(space, f"delete table {family} case-{name}")


@contextlib.contextmanager
def device_rules(space: Namespace, name: str, device: str, rule: str) -> Iterator[None]:
    """Have a chain for what arrives by a device while the block runs."""
    hook = f"type filter hook ingress device {device} priority 0"
    _nft(space, f"table netdev case-{name} {{ chain c {{ {hook}; {rule}\n }}\n }}")
    try:
        yield
    finally:
        _nft(space, f"delete table netdev case-{name}")


@contextlib.contextmanager
def flowtable(
    space: Namespace, name: str, devices: tuple[str, ...], protocol: str
) -> Iterator[None]:
    """Have what is forwarded between devices pass by the stack while the block runs."""
    names = ", ".join(devices)
    table = f"flowtable f {{ hook ingress priority 0; devices = {{ {names} }};\n }}"
    hook = "type filter hook forward priority 0"
    chain = f"chain c {{ {hook}; meta l4proto {protocol} flow add @f;\n }}\n"
    _nft(space, f"table ip case-flow-{name} {{ {table}\n {chain} }}")
    try:
        yield
    finally:
        _nft(space, f"delete table ip case-flow-{name}")


def masquerade(
    space: Namespace, number: int
) -> contextlib.AbstractContextManager[None]:
    """Translate what leaves for outside from the containers behind the bridge.

    The number is one that no other case has.
    """
    return rules(space, f"masquerade-{number}", postrouting=MASQUERADE)


def published(
    space: Namespace, protocol: str, port: int, to: tuple[str, int]
) -> contextlib.AbstractContextManager[None]:
    """Translate what comes from outside to a port, as Docker does."""
    address, there = to
    rule = f"iifname {OUTSIDE} {protocol} dport {port} dnat to {address}:{there}"
    return rules(space, f"published-{port}", prerouting=rule)


def untracked(space: Namespace, port: int) -> contextlib.AbstractContextManager[None]:
    """Have connections to a port outside leave nothing behind in conntrack."""
    return rules(
        space,
        "untracked",
        output=f"tcp dport {port} notrack",
        input=f"tcp sport {port} notrack",
    )


def forget_connections(space: Namespace) -> None:
    """Delete all entries of connection tracking; OSError where that is not possible."""
    kind = (socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    with space.entered(), socket.socket(*kind) as asking:
        asking.send(
            struct.pack("=IHHIIBBH", 20, _DELETE, _REQUEST_AND_ACK, 1, 0, 0, 0, 0)
        )
        code = int.from_bytes(asking.recv(1 << 16)[16:20], sys.byteorder, signed=True)
        if code:
            raise OSError(-code, os.strerror(-code))


def _nft(space: Namespace, text: str) -> None:
    command = ["nsenter", f"--net=/run/netns/{space.name}", "nft", "-f", "-"]
    subprocess.run(command, input=text, text=True, check=True)
