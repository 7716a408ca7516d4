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
_KIND_FUNC = 12
_TYPE_LEN = 12  # struct btf_type, and struct btf_member

# What the BPF programs read, as structure and member.
MEMBERS = (
    ("task_struct", "group_leader"),
    ("task_struct", "start_boottime"),
    ("task_struct", "tgid"),
    ("task_struct", "pid"),
    ("task_struct", "comm"),
    ("task_struct", "cred"),
    ("task_struct", "flags"),
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
        number = self._lib.btf__find_by_name_kind(
            self._btf, structure.encode(), _KIND_STRUCT
        )
        bits = self._find(number, member) if number > 0 else None
        if bits is None:
            raise TccapError(f"The kernel's struct {structure} has no {member}.")
        return bits // 8

    def function(self, name: str) -> int:
        """Return the function's number; 0: it is not known."""
        number = self._lib.btf__find_by_name_kind(self._btf, name.encode(), _KIND_FUNC)
        return max(0, int(number))

    def _find(self, number: int, member: str) -> int | None:
        for name, type_number, bits in self._members(number):
            if name == member:
                return bits
            if not name:  # an anonymous structure or union: its members are ours
                inner = self._find(type_number, member)
                if inner is not None:
                    return bits + inner
        return None

    def _members(self, number: int) -> Iterator[tuple[str, int, int]]:
        """Give name, type and offset in bits of a type's members."""
        address = self._lib.btf__type_by_id(self._btf, number)
        _, info, _ = struct.unpack("III", ctypes.string_at(address, _TYPE_LEN))
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
        f"{structure}__{member}".upper(): _kernel().offset(structure, member)
        for structure, member in MEMBERS
    }


def functions(*names: str) -> dict[str, int]:
    """Return the numbers of those functions that the kernel itself has.

    Functions of its modules, and those that the compiler has put into others,
    are not among them.
    """
    found = {name: _kernel().function(name) for name in names}
    return {name: number for name, number in found.items() if number}


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
