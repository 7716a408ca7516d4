"""Whether destinations of packets that arrive are translated (NAT).

Netfilter translates them behind the classifier, so that the socket of a packet's own
addresses may not be the one that receives it. Only rules are looked for, not what they
match.
"""

import ctypes
import errno
import socket
import struct
from pathlib import Path

from tccap.host import libc, netlink

_NETLINK_NETFILTER = 12
# include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
_GETCHAIN = 10 << 8 | 4
_NFGENMSG_LEN = 4
_CHAIN_HOOK, _CHAIN_USE, _CHAIN_TYPE, _HOOK_NUMBER = 4, 6, 7, 1
_PREROUTING = 0
# The kernel has no nf_tables.
_NO_TABLES = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
# include/uapi/linux/netfilter_ipv4/ip_tables.h: struct ipt_getinfo has the table's name,
# valid hooks, first entry and policy of each hook, and two more numbers. The same in
# ip6_tables.h.
_GET_INFO = 64
_INFO = struct.Struct("=32sI5I5I2I")
_LEGACY = (
    ("ip_tables_names", socket.AF_INET, socket.IPPROTO_IP),
    ("ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6),
)


def is_translated() -> bool:
    """Return whether the network namespace of this thread has rules for that.

    True where the kernel does not say.
    """
    try:
        return any(_legacy_rules(*each) for each in _LEGACY) or _nftables_rules()
    except OSError:
        return True


def _legacy_rules(names: str, family: int, level: int) -> bool:
    """Return whether the table ``nat`` of iptables has rules at PREROUTING."""
    try:
        tables = Path("/proc/thread-self/net", names).read_text("ascii").split()
    except FileNotFoundError:
        return False
    if "nat" not in tables:  # asking for it would make the kernel load it
        return False
    info = ctypes.create_string_buffer(_INFO.pack(b"nat", *bytes(13)), _INFO.size)
    length = ctypes.c_uint32(_INFO.size)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as any_socket:
        place = (any_socket.fileno(), level, _GET_INFO)
        libc.call("getsockopt", *place, info, ctypes.byref(length))
    _name, _hooks, first, *rest = _INFO.unpack(info.raw)
    policy = rest[4]  # the first of the five that follow the five first entries
    return bool(first != policy)


def _nftables_rules() -> bool:
    """Return whether a base chain of type ``nat`` at prerouting has rules."""
    try:
        with netlink.connect(_NETLINK_NETFILTER) as here:
            answers = netlink.ask(here, _GETCHAIN, bytes(_NFGENMSG_LEN), dump=True)
            return any([_translates(answer) for answer in answers])
    except OSError as error:
        if error.errno in _NO_TABLES:
            return False
        raise


def _translates(answer: bytes) -> bool:
    chain = netlink.attributes(answer[_NFGENMSG_LEN:])
    hook = netlink.attributes(chain.get(_CHAIN_HOOK, b""))
    number = int.from_bytes(hook.get(_HOOK_NUMBER, b"\xff"), "big")
    uses = int.from_bytes(chain.get(_CHAIN_USE, b"\xff"), "big")
    is_nat = chain.get(_CHAIN_TYPE, b"").rstrip(b"\0") == b"nat"
    return is_nat and number == _PREROUTING and uses > 0
