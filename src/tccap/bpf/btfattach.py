"""Running programs at kernel functions and tracepoints that BTF describes.

At the entry of a function (fentry, Linux 5.5) a program, unlike a kprobe, also
runs when it interrupts another one. At a raw tracepoint it needs no kprobes, and
the verifier knows its arguments' types.
"""

import os

from tccap.bpf import progs

RAW_TRACEPOINT, FENTRY = progs.TRACE_RAW_TP, progs.TRACE_FENTRY
# BPF_MOV r0 0, BPF_EXIT.
_NOTHING = bytes.fromhex("b7000000000000009500000000000000")


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
    program_fd = progs.load(progs.TRACING, name, instructions, kind, btf_id)
    try:
        return progs.open_raw_tracepoint(program_fd)
    finally:
        os.close(program_fd)
