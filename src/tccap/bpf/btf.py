"""Offsets into the running kernel's structures, from its own type information.

libbpf reads BTF (/sys/kernel/btf/vmlinux); every bcc needs libbpf, so it is
there.
"""

import ctypes
import functools
import struct
from collections.abc import Iterator

from tccap.errors import TccapError

_KIND_STRUCT = 4  # BTF_KIND_STRUCT, include/uapi/linux/btf.h
_KIND_UNION = 5
_KIND_TYPEDEF = 8
_KIND_FUNC = 12
_TYPE_LEN = 12  # struct btf_type, and struct btf_member

# What the BPF programs read, as structure and member (of a member).
MEMBERS = (
    ("task_struct", "group_leader"),
    ("task_struct", "start_boottime"),
    ("task_struct", "tgid"),
    ("task_struct", "pid"),
    ("task_struct", "comm"),
    ("task_struct", "cred"),
    ("task_struct", "flags"),
    ("task_struct", "signal"),
    ("signal_struct", "live"),
    ("cred", "uid"),
    ("cred", "euid"),
    ("cred", "suid"),
    ("cred", "fsuid"),
    ("file", "f_op"),
    ("file", "private_data"),
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
    ("sock", "sk_protocol"),
    ("sock", "sk_socket"),
    ("sock", "sk_lock.owned"),
    ("inet_sock", "inet_sport"),
    ("net", "ns"),
    ("ns_common", "inum"),
)


class _Btf:
    def __init__(self) -> None:
        self._lib = _libbpf()
        self._lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        self._lib.btf__type_by_id.restype = ctypes.c_void_p
        self._lib.btf__name_by_offset.restype = ctypes.c_char_p
        handle = self._lib.btf__load_vmlinux_btf()
        # An error comes back as NULL or as a small negative number.
        if handle is None or handle >= (1 << 64) - 4096:
            raise TccapError(
                "The kernel has no type information (/sys/kernel/btf/vmlinux): "
                "processes cannot be told."
            )
        self._btf = ctypes.c_void_p(handle)

    def offset(self, structure: str, member: str) -> int:
        """Return the member's offset in bytes."""
        number = self.number(structure, _KIND_STRUCT)
        bits = self._find(number, member) if number else None
        if bits is None:
            raise TccapError(f"The kernel's struct {structure} has no {member}.")
        return bits // 8

    def number(self, name: str, kind: int) -> int:
        """Return the number of a function, a type or a variable; 0: not known."""
        number = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return max(0, int(number))

    def _find(self, number: int, member: str) -> int | None:
        outer, _, rest = member.partition(".")
        for name, type_number, bits in self._members(number):
            if name == member:
                return bits
            # In an anonymous structure or union: its members are ours.
            wanted = rest if name == outer else "" if name else member
            inner = self._find(type_number, wanted) if wanted else None
            if inner is not None:
                return bits + inner
        return None

    def _members(self, number: int) -> Iterator[tuple[str, int, int]]:
        """Give name, type and offset in bits of a type's members."""
        address = self._lib.btf__type_by_id(self._btf, number)
        _, info, other = struct.unpack("III", ctypes.string_at(address, _TYPE_LEN))
        if info >> 24 & 0x1F == _KIND_TYPEDEF:
            yield from self._members(other)
        if info >> 24 & 0x1F not in (_KIND_STRUCT, _KIND_UNION):
            return
        # With the kind flag, the upper byte of an offset is a bit field's width.
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for at in range(info & 0xFFFF):
            raw = ctypes.string_at(address + _TYPE_LEN * (at + 1), _TYPE_LEN)
            name, type_number, offset = struct.unpack("III", raw)
            text = self._lib.btf__name_by_offset(self._btf, name).decode()
            yield text, type_number, offset & mask


def defines() -> dict[str, int]:
    """Return STRUCT__MEMBER for all of MEMBERS, in bytes."""
    return {
        f"{structure}__{member}".upper().replace(".", "__"): _kernel().offset(
            structure, member
        )
        for structure, member in MEMBERS
    }


def functions(*names: str) -> dict[str, int]:
    """Return the numbers of those functions that the kernel itself has.

    Functions of its modules, and those that the compiler has put into others,
    are not among them.
    """
    found = {name: _kernel().number(name, _KIND_FUNC) for name in names}
    return {name: number for name, number in found.items() if number}


def tracepoint(name: str) -> int:
    """Return the number of a raw tracepoint's type; 0: there is none."""
    return _kernel().number(f"btf_trace_{name}", _KIND_TYPEDEF)


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
