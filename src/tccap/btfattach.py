"""Running programs at kernel functions and tracepoints that BTF describes.

At the entry of a function (fentry, Linux 5.5) a program, unlike a kprobe, also
runs when it interrupts another one. At a raw tracepoint it needs no kprobes, and
the verifier knows its arguments' types. The versions of bcc differ here, so
bpf(2) is called directly (BPF_PROG_LOAD and BPF_RAW_TRACEPOINT_OPEN,
include/uapi/linux/bpf.h).
"""

import ctypes
import os

from tccap.bpfcall import bpf

_PROG_LOAD, _RAW_TRACEPOINT_OPEN = 5, 17
_PROG_TYPE_TRACING = 26
# enum bpf_attach_type
RAW_TRACEPOINT, FENTRY = 23, 24
_INSTRUCTION_LEN = 8
# BPF_MOV r0 0, BPF_EXIT.
_NOTHING = bytes.fromhex("b7000000000000009500000000000000")


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_char_p),
        ("license", ctypes.c_char_p),
        ("log", ctypes.c_uint32 * 4),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("debug_information", ctypes.c_uint32 * 9),
        ("attach_btf_id", ctypes.c_uint32),
    )


class _RawTracepointOpen(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint64))


def is_supported(kind: int, btf_id: int) -> bool:
    """Tell whether a program can be attached there."""
    try:
        os.close(attach(kind, btf_id, "nothing", _NOTHING))
    except OSError:
        return False
    return True


def attach(kind: int, btf_id: int, name: str, instructions: bytes) -> int:
    """Run a program whenever a place in the kernel is passed; return a descriptor.

    ``kind`` is FENTRY or RAW_TRACEPOINT, and ``btf_id`` the number of the
    function, or of the tracepoint's type, in the kernel's BTF; the program finds
    the arguments as 64-bit numbers in its context. Closing the
    descriptor, or dying, detaches. OSError as bpf(2) reports it.
    """
    load = _ProgLoad(
        prog_type=_PROG_TYPE_TRACING,
        insn_cnt=len(instructions) // _INSTRUCTION_LEN,
        insns=instructions,
        license=b"GPL",
        prog_name=name.encode()[:15],
        expected_attach_type=kind,
        attach_btf_id=btf_id,
    )
    program_fd = bpf(_PROG_LOAD, load)
    try:
        return bpf(_RAW_TRACEPOINT_OPEN, _RawTracepointOpen(prog_fd=program_fd))
    finally:
        os.close(program_fd)
