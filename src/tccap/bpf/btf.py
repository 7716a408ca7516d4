"""Offsets into the running kernel's structures, from its own type information.

libbpf reads the BTF (/sys/kernel/btf/vmlinux). bcc depends on libbpf, so it is
installed.
"""

import ctypes
import functools
import struct
from collections.abc import Iterator

from tccap.errors import TccapError

_KIND_STRUCT = 4  # BTF_KIND_STRUCT, include/uapi/linux/btf.h
_KIND_UNION = 5
_KIND_ENUM = 6
_KIND_TYPEDEF = 8
_KIND_FUNC = 12
_TYPE_LEN = 12  # struct btf_type, and struct btf_member
_ENUM_LEN = 8  # struct btf_enum

_Members = tuple[tuple[str, str], ...]  # structure and member, or member.member

# What the BPF programs read.
MEMBERS: _Members = (
    ("task_struct", "group_leader"),
    ("task_struct", "start_boottime"),
    ("task_struct", "tgid"),
    ("task_struct", "pid"),
    ("task_struct", "comm"),
    ("task_struct", "cred"),
    ("task_struct", "mm"),
    ("task_struct", "flags"),
    ("task_struct", "files"),
    ("task_struct", "signal"),
    ("signal_struct", "live"),
    ("cred", "uid"),
    ("cred", "euid"),
    ("cred", "suid"),
    ("cred", "fsuid"),
    ("cred", "gid"),
    ("cred", "egid"),
    ("cred", "sgid"),
    ("cred", "fsgid"),
    ("cred", "cap_permitted"),
    ("cred", "user_ns"),
    ("user_namespace", "parent"),
    ("user_namespace", "owner"),
    ("user_namespace", "ns.inum"),
    ("files_struct", "count"),
    ("files_struct", "fdt"),
    ("files_struct", "next_fd"),
    ("fdtable", "fd"),
    ("file", "f_op"),
    ("file", "private_data"),
    ("file", "f_inode"),
    ("inode", "i_ino"),
    ("socket", "file"),
    ("socket", "sk"),
    ("sock_common", "skc_family"),
    ("sock_common", "skc_net"),
    ("sock_common", "skc_daddr"),
    ("sock_common", "skc_rcv_saddr"),
    ("sock_common", "skc_v6_daddr"),
    ("sock_common", "skc_v6_rcv_saddr"),
    ("sock_common", "skc_dport"),
    ("sock_common", "skc_state"),
    ("sock_common", "skc_reuse"),
    ("sock", "sk_protocol"),
    ("sock", "sk_socket"),
    ("sock", "sk_reuseport_cb"),
    ("sock_reuseport", "prog"),
    ("sock", "sk_lock.owned"),
    ("inet_sock", "inet_sport"),
    ("inet_sock", "mc_list"),
    ("ip_mc_socklist", "multi.imr_multiaddr"),
    ("ip_mc_socklist", "multi.imr_ifindex"),
    ("ip_mc_socklist", "next_rcu"),
    ("ip_mc_socklist", "sfmode"),
    ("ip_mc_socklist", "sflist"),
    ("net", "ns"),
    ("ns_common", "inum"),
)
# Where a task says whether it is dumpable, the newest kernels first. Yet another place
# concerns TLS secrets alone.
_DUMPABLE = (
    (("task_struct", "exec_state"), ("task_exec_state", "dumpable")),
    (("mm_struct", "flags"),),
)
# How a file counts a single reference, and where: the second since Linux 6.13.
_FILE_COUNTS = ((1, ("file", "f_count")), (0, ("file", "f_ref.refcnt")))

# What some kernels lack.
_MPTCP = (
    ("tcp_sock", "is_mptcp"),
    ("inet_connection_sock", "icsk_ulp_data"),
    ("mptcp_subflow_context", "conn"),
)
_GROUPS6 = (
    ("inet_sock", "pinet6"),
    ("ipv6_pinfo", "ipv6_mc_list"),
    ("ipv6_mc_socklist", "addr"),
    ("ipv6_mc_socklist", "ifindex"),
    ("ipv6_mc_socklist", "next"),
    ("ipv6_mc_socklist", "sfmode"),
    ("ipv6_mc_socklist", "sflist"),
)
_NETFILTER = (
    ("net", "nf.hooks_ipv4"),
    ("net", "nf.hooks_ipv6"),
    ("nf_hook_entries", "num_hook_entries"),
    ("nf_hook_entries", "hooks"),
    ("nf_hook_ops", "priority"),
)
_CONNTRACK = (
    ("sk_buff", "_nfct"),
    ("nf_conn", "status"),
    ("nf_conn", "timeout"),
    ("nf_conn", "tuplehash"),
    ("nf_conn", "ct_net"),
)
_ZONES = (("nf_conn", "zone"),)
_ROUTES = (
    ("sk_buff", "_skb_refdst"),
    ("rtable", "rt_iif"),
    ("rt6_info", "rt6i_idev"),
    ("inet6_dev", "dev"),
    ("net_device", "ifindex"),
)
_MIGRATION = (("net", "ipv4.sysctl_tcp_migrate_req"),)
# struct tracked_way of bpf/owners/connection_tracking.h
_TRACKED = {
    ("nf_conntrack_tuple_hash", "tuple"): 16,
    ("nf_conntrack_tuple", "src.u"): 16,
    ("nf_conntrack_tuple", "src.l3num"): 18,
    ("nf_conntrack_tuple", "dst"): 20,
    ("nf_conntrack_tuple", "dst.u"): 36,
    ("nf_conntrack_tuple", "dst.protonum"): 38,
}

_CGROUPS = (
    ("task_struct", "cgroups"),
    ("css_set", "dfl_cgrp"),
    ("css_set", "subsys"),
    ("cgroup_subsys_state", "cgroup"),
    ("cgroup", "kn"),
    ("cgroup", "root"),
    ("cgroup_root", "hierarchy_id"),
    ("kernfs_node", "id"),
)
_CGROUP_NAMES = (
    ("cgroup", "self"),
    ("cgroup_subsys_state", "parent"),
    ("kernfs_node", "name"),
)


class _Btf:
    def __init__(self) -> None:
        self._lib = _libbpf()
        self._lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        self._lib.btf__type_by_id.restype = ctypes.c_void_p
        self._lib.btf__name_by_offset.restype = ctypes.c_char_p
        handle = self._lib.btf__load_vmlinux_btf()
        # libbpf returns NULL or, in old versions, a small negative number on errors.
        if handle is None or handle >= (1 << 64) - 4096:
            raise TccapError(
                "The kernel has no type information (/sys/kernel/btf/vmlinux): "
                "the processes of packets cannot be found."
            )
        self._btf = ctypes.c_void_p(handle)
        self._ids: dict[tuple[str, int], int] = {}

    def offset(self, structure: str, member: str) -> int:
        """Return the member's offset in bytes."""
        type_id = self.type_id(structure, _KIND_STRUCT)
        bits = self._find(type_id, member) if type_id else None
        if bits is None:
            raise TccapError(f"The kernel's struct {structure} has no {member}.")
        return bits // 8

    def type_id(self, name: str, kind: int) -> int:
        """Return the id of a type, or of a function; 0: there is none.

        libbpf looks through all types, and one structure is asked for many members.
        """
        if (name, kind) not in self._ids:
            found = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
            self._ids[name, kind] = max(0, int(found))
        return self._ids[name, kind]

    def enumerator(self, enumeration: str, wanted: str) -> int | None:
        """Return the value of an enumerator; None: there is none."""
        type_id = self.type_id(enumeration, _KIND_ENUM)
        if not type_id:
            return None
        address = self._lib.btf__type_by_id(self._btf, type_id)
        _, info, _ = struct.unpack("III", ctypes.string_at(address, _TYPE_LEN))
        for at in range(info & 0xFFFF):
            raw = ctypes.string_at(address + _TYPE_LEN + _ENUM_LEN * at, _ENUM_LEN)
            name, value = struct.unpack("Ii", raw)
            if self._lib.btf__name_by_offset(self._btf, name).decode() == wanted:
                return int(value)
        return None

    def _find(self, type_id: int, member: str) -> int | None:
        """Return a member's offset in bits; None: there is none."""
        outer, _, rest = member.partition(".")
        for name, member_type_id, bits in self._members(type_id):
            if name == member:
                return bits
            # Members of an anonymous structure or union belong to the outer one.
            wanted = rest if name == outer else "" if name else member
            inner = self._find(member_type_id, wanted) if wanted else None
            if inner is not None:
                return bits + inner
        return None

    def _members(self, type_id: int) -> Iterator[tuple[str, int, int]]:
        """Yield name, type id and offset in bits of each member."""
        address = self._lib.btf__type_by_id(self._btf, type_id)
        _, info, other = struct.unpack("III", ctypes.string_at(address, _TYPE_LEN))
        if info >> 24 & 0x1F == _KIND_TYPEDEF:
            yield from self._members(other)
        if info >> 24 & 0x1F not in (_KIND_STRUCT, _KIND_UNION):
            return
        # With the kind flag, the upper byte of an offset is a bit field's width.
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for at in range(info & 0xFFFF):
            raw = ctypes.string_at(address + _TYPE_LEN * (at + 1), _TYPE_LEN)
            name, member_type_id, offset = struct.unpack("III", raw)
            text = self._lib.btf__name_by_offset(self._btf, name).decode()
            yield text, member_type_id, offset & mask


# What only some kernels have, by the definition that says whether this one has it all.
_OPTIONAL = {
    "HAS_MPTCP": _MPTCP,
    "HAS_NETFILTER": _NETFILTER,
    "HAS_GROUPS6": _GROUPS6,
    "HAS_ZONES": _ZONES,
    "HAS_ROUTES": _ROUTES,
    "HAS_MIGRATION": _MIGRATION,
    "HAS_CGROUPS": _CGROUPS,
    "HAS_CGROUP_NAMES": _CGROUP_NAMES,
}


def defines() -> dict[str, int]:
    """Return -D definitions: STRUCT__MEMBER is the member's offset in bytes.

    HAS_... is 1 where the kernel has all members of that name (`_OPTIONAL`), and
    HAS_CONNTRACK where tracked connections have their addresses in the places expected.
    """
    found = {**_offsets(MEMBERS), **_dumpable(), **_file_count(), **_conntrack()}
    for name, members in _OPTIONAL.items():
        found |= _if_present(name, members)
    return found


def _conntrack() -> dict[str, int]:
    """Return the offsets of tracked connections, if their addresses are as expected."""
    are_as_expected = [*_if_all(tuple(_TRACKED)).values()] == [*_TRACKED.values()]
    return _if_present("HAS_CONNTRACK", _CONNTRACK if are_as_expected else ())


def _file_count() -> dict[str, int]:
    """Return where a file's count of references is, and how it counts a single one."""
    for count_of_one, member in _FILE_COUNTS:
        if found := _if_all((member,)):
            [offset] = found.values()
            return {"FILE__COUNT": offset, "FILE__COUNT_OF_ONE": count_of_one}
    raise TccapError("The kernel's struct file has no count of references.")


def _if_present(name: str, members: _Members) -> dict[str, int]:
    """Return the offsets of members, and whether the kernel has all of them."""
    found = _if_all(members)
    return {**found, name: int(bool(found))}


def _if_all(members: _Members) -> dict[str, int]:
    """Return the offsets of members; empty unless the kernel has all of them."""
    try:
        return _offsets(members)
    except TccapError:
        return {}


def _offsets(members: _Members) -> dict[str, int]:
    return {
        f"{structure}__{member}".upper().replace(".", "__"): _kernel().offset(
            structure, member
        )
        for structure, member in members
    }


def knows_dumpable() -> bool:
    """Return whether programs can read if a process is dumpable (prctl(2))."""
    return bool(_dumpable())


def _dumpable() -> dict[str, int]:
    return next(filter(None, map(_if_all, _DUMPABLE)), {})


def functions(*names: str) -> dict[str, int]:
    """Return the BTF ids of those functions that vmlinux has.

    Functions of kernel modules and inlined functions are not found.
    """
    found = {name: _kernel().type_id(name, _KIND_FUNC) for name in names}
    return {name: type_id for name, type_id in found.items() if type_id}


def enumerator(enumeration: str, name: str) -> int | None:
    """Return the value of an enumerator; None: there is none."""
    return _kernel().enumerator(enumeration, name)


def tracepoint(name: str) -> int:
    """Return the BTF id of a raw tracepoint's type; 0: there is none."""
    return _kernel().type_id(f"btf_trace_{name}", _KIND_TYPEDEF)


@functools.cache
def _kernel() -> _Btf:
    return _Btf()


def _libbpf() -> ctypes.CDLL:
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise TccapError("libbpf is missing: install it (sudo apt install libbpf1).")
