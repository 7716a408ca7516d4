"""Running programs at the entry of kernel functions by fentry (Linux 5.5).

Unlike a kprobe, such a program also runs when it interrupts another one. The
versions of bcc differ here, so bpf(2) is called directly (BPF_PROG_LOAD and
BPF_RAW_TRACEPOINT_OPEN, include/uapi/linux/bpf.h).
"""

import ctypes
import os

from tccap.bpfcall import bpf

_PROG_LOAD, _RAW_TRACEPOINT_OPEN = 5, 17
_PROG_TYPE_TRACING = 26
_TRACE_FENTRY = 24
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


def is_supported(function_id: int) -> bool:
    """Tell whether a program can be attached to that function."""
    try:
        os.close(attach(function_id, "nothing", _NOTHING))
    except OSError:
        return False
    return True


def attach(function_id: int, name: str, instructions: bytes) -> int:
    """Run a program whenever the function is called; return a descriptor.

    ``function_id`` is the function's number in the kernel's BTF; the program
    finds the arguments as 64-bit numbers in its context. Closing the
    descriptor, or dying, detaches. OSError as bpf(2) reports it.
    """
    load = _ProgLoad(
        prog_type=_PROG_TYPE_TRACING,
        insn_cnt=len(instructions) // _INSTRUCTION_LEN,
        insns=instructions,
        license=b"GPL",
        prog_name=name.encode()[:15],
        expected_attach_type=_TRACE_FENTRY,
        attach_btf_id=function_id,
    )
    program_fd = bpf(_PROG_LOAD, load)
    try:
        return bpf(_RAW_TRACEPOINT_OPEN, _RawTracepointOpen(prog_fd=program_fd))
    finally:
        os.close(program_fd)
