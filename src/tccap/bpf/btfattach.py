"""Attaches programs to kernel functions and tracepoints that BTF describes.

A program at a function's entry (fentry, Linux 5.5) or return (fexit) also runs when it
interrupts another program, where the kernel would skip a kprobe. A program at a raw
tracepoint needs no kprobes, and the verifier knows the types of its arguments.
"""

import os

from tccap.bpf import progs
from tccap.bpf.uapi import AttachType, ProgType

# BPF_MOV r0 0, BPF_EXIT.
_NOTHING = bytes.fromhex("b7000000000000009500000000000000")


def is_supported(kind: AttachType, btf_id: int) -> bool:
    """Return whether a program can be attached there; see `attach`."""
    try:
        os.close(attach(kind, btf_id, "nothing", _NOTHING))
    except OSError:
        return False
    return True


def attach(kind: AttachType, btf_id: int, name: str, instructions: bytes) -> int:
    """Attach a program and return a descriptor.

    ``kind`` is TRACE_FENTRY, TRACE_FEXIT or TRACE_RAW_TP, and ``btf_id`` the id, in
    the kernel's BTF, of the function or of the tracepoint's type. The program's context
    is an array of the arguments, 64 bits each. Closing the descriptor, or the end of
    the process, detaches. OSError as bpf(2) reports it.
    """
    program_fd = progs.load(ProgType.TRACING, name, instructions, kind, btf_id)
    try:
        return progs.open_raw_tracepoint(program_fd)
    finally:
        os.close(program_fd)
