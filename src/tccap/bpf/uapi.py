"""The kernel's interface for bpf(2): include/uapi/linux/bpf.h, as far as we use it.

Names are those of the header without their prefixes. A structure is the member of
union bpf_attr that belongs to its command, or the beginning of it: the kernel reads
missing fields as 0.
"""

import ctypes
from enum import IntEnum

u32, u64 = ctypes.c_uint32, ctypes.c_uint64

NAME_LEN_MAX = 15  # BPF_OBJ_NAME_LEN with a zero byte
F_BEFORE = 1 << 3  # BPF_F_BEFORE: ahead of all other programs
LD_IMM64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: takes two instructions
PSEUDO_MAP_FD = 1  # BPF_PSEUDO_MAP_FD, as LD_IMM64's source: it loads a map


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    LINK_CREATE = 28
    ITER_CREATE = 33


class MapType(IntEnum):
    """enum bpf_map_type."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    SK_STORAGE = 24
    RINGBUF = 27


class ProgType(IntEnum):
    """enum bpf_prog_type."""

    UNSPEC = 0
    KPROBE = 2
    SCHED_CLS = 3
    RAW_TRACEPOINT = 17
    TRACING = 26


class AttachType(IntEnum):
    """enum bpf_attach_type."""

    UNSPEC = 0  # where a program's type says all; the header has no name for that
    TRACE_RAW_TP = 23
    TRACE_FENTRY = 24
    TRACE_FEXIT = 25
    TRACE_ITER = 28
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class MapCreate(ctypes.Structure):
    """MAP_CREATE."""

    _fields_ = (
        ("map_type", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("inner_map_fd", u32),
        ("numa_node", u32),
        ("map_name", ctypes.c_char * (NAME_LEN_MAX + 1)),
        ("map_ifindex", u32),
        ("btf_fd", u32),
        ("btf_key_type_id", u32),
        ("btf_value_type_id", u32),
    )


class MapElem(ctypes.Structure):
    """MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM and MAP_DELETE_ELEM."""

    _fields_ = (
        ("map_fd", u32),
        ("key", u64),
        ("value", u64),
        ("flags", u64),
    )


class ProgLoad(ctypes.Structure):
    """PROG_LOAD."""

    _fields_ = (
        ("prog_type", u32),
        ("insn_cnt", u32),
        ("insns", ctypes.c_char_p),
        ("license", ctypes.c_char_p),
        ("log_level", u32),
        ("log_size", u32),
        ("log_buf", u64),
        ("kern_version", u32),
        ("prog_flags", u32),
        ("prog_name", ctypes.c_char * (NAME_LEN_MAX + 1)),
        ("prog_ifindex", u32),
        ("expected_attach_type", u32),
        ("prog_btf_fd", u32),
        ("func_info_rec_size", u32),
        ("func_info", u64),
        ("func_info_cnt", u32),
        ("line_info_rec_size", u32),
        ("line_info", u64),
        ("line_info_cnt", u32),
        ("attach_btf_id", u32),
    )


class ObjGetInfoByFd(ctypes.Structure):
    """OBJ_GET_INFO_BY_FD; ``info`` points to MapInfo or BtfInfo."""

    _fields_ = (("bpf_fd", u32), ("info_len", u32), ("info", u64))


class RawTracepointOpen(ctypes.Structure):
    """RAW_TRACEPOINT_OPEN."""

    _fields_ = (("name", ctypes.c_char_p), ("prog_fd", u32))


class BtfLoad(ctypes.Structure):
    """BTF_LOAD."""

    _fields_ = (
        ("btf", u64),
        ("btf_log_buf", u64),
        ("btf_size", u32),
        ("btf_log_size", u32),
        ("btf_log_level", u32),
    )


class GetFdById(ctypes.Structure):
    """PROG_GET_FD_BY_ID."""

    _fields_ = (("id", u32), ("next_id", u32), ("open_flags", u32))


class LinkCreateIter(ctypes.Structure):
    """LINK_CREATE for an iterator."""

    _fields_ = (
        ("prog_fd", u32),
        ("target_fd", u32),
        ("attach_type", u32),
        ("flags", u32),
    )


class LinkCreateTcx(ctypes.Structure):
    """LINK_CREATE for TCX (Linux 6.6)."""

    _fields_ = (
        ("prog_fd", u32),
        ("target_ifindex", u32),
        ("attach_type", u32),
        ("flags", u32),
        ("relative_fd", u32),
        ("expected_revision", u64),
    )


class IterCreate(ctypes.Structure):
    """ITER_CREATE."""

    _fields_ = (("link_fd", u32), ("flags", u32))


class MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info."""

    _fields_ = (
        ("type", u32),
        ("id", u32),
        ("key_size", u32),
        ("value_size", u32),
        ("max_entries", u32),
        ("map_flags", u32),
        ("name", ctypes.c_char * (NAME_LEN_MAX + 1)),
        ("ifindex", u32),
        ("btf_vmlinux_value_type_id", u32),
        ("netns_dev", u64),
        ("netns_ino", u64),
        ("btf_id", u32),
        ("btf_key_type_id", u32),
        ("btf_value_type_id", u32),
        ("zero", u32),
    )


class BtfInfo(ctypes.Structure):
    """The beginning of struct bpf_btf_info."""

    _fields_ = (("btf", u64), ("btf_size", u32), ("id", u32))
