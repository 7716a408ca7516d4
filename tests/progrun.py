"""BPF_PROG_TEST_RUN, and filters that are put into programs to run there."""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tccap.bpf import progs, source
from tccap.bpf.patch import NO_PATCHES, Patches, patched
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, ProgType
from tccap.filter import ebpf, function
from tccap.filter.cbpf import Program
from tccap.filter.language import Packet
from tccap.stream.programoptions import Option

BPF = Path(__file__).parents[1] / "bpf"
# Offsets in `struct __sk_buff`, linux/bpf.h.
_MARK_AT = 8
_CB_AT = 48
_SKB_CONTEXT_LEN = 184
_UNKNOWN_TYPE = b"\x88\xb5"


class _TestRun(ctypes.Structure):
    """The `test` member of `union bpf_attr`, linux/bpf.h."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
    )


def run(
    prog_fd: int, frame: bytes, *, repeat: int = 1, mark: int = 0
) -> tuple[int, int]:
    """Return the program's return value for a frame, and nanoseconds a run.

    Newer kernels refuse frames whose EtherType announces an IP header that is
    incomplete; the type bypasses that check in the context's cb[0].
    """
    shown = frame[:12] + _UNKNOWN_TYPE + frame[14:]
    data = ctypes.create_string_buffer(shown, len(shown))
    context = ctypes.create_string_buffer(_SKB_CONTEXT_LEN)
    ctypes.c_uint32.from_buffer(context, _MARK_AT).value = mark
    carried = int.from_bytes(frame[12:14], sys.byteorder)
    ctypes.c_uint32.from_buffer(context, _CB_AT).value = carried
    test = _TestRun(
        prog_fd=prog_fd,
        data_size_in=len(frame),
        data_in=ctypes.addressof(data),
        repeat=repeat,
        ctx_size_in=len(context),
        ctx_in=ctypes.addressof(context),
    )
    bpf(Command.PROG_TEST_RUN, test)
    return test.retval, test.duration


def verdict(prog_fd: int, frame: bytes) -> int:
    """Return the program's return value for a frame as it is; OSError if refused."""
    data = ctypes.create_string_buffer(frame, len(frame))
    test = _TestRun(
        prog_fd=prog_fd, data_size_in=len(frame), data_in=ctypes.addressof(data)
    )
    bpf(Command.PROG_TEST_RUN, test)
    return int(test.retval)


def load(
    text: str, name: str, *flags: str, patches: Patches = NO_PATCHES
) -> tuple[Any, int]:
    """Compile BPF C with bcc; return the BPF object and the program's descriptor."""
    owner, code = compiled(text, name, *flags)
    return owner, progs.load(ProgType.SCHED_CLS, name, patched(code, patches))


def compiled(text: str, name: str, *flags: str) -> tuple[Any, bytes]:
    """Compile BPF C with bcc; return the BPF object and the program's instructions."""
    os.environ["BCC_KERNEL_SOURCE"] = str(BPF)
    import bcc  # noqa: PLC0415 - slow, and absent from a unit test's machine

    owner = bcc.BPF(text=text.encode(), cflags=[f"-I{BPF}", "-w", *flags])
    return owner, owner.dump_func(name.encode())


# `bits` starts from a number that the verifier does not know: else it would follow
# every combination of verdicts.
#
# A mark in the context asks for a tag: the EtherType in the upper half, the tag's
# value in the lower. The kernel then keeps it beside the data.
_ENTRY = """
int verdicts(struct __sk_buff *skb)
{
    struct filter_input *input = filter_input();
    struct frame f;
    u64 bits = skb_field(skb, mark);
    u16 type = skb->cb[0];

    if (!input)
        return 0;
    bpf_skb_store_bytes(skb, 12, &type, sizeof(type), 0);
    if (skb->mark)
        bpf_skb_vlan_push(skb, __builtin_bswap16(skb->mark >> 16), (u16)skb->mark);
    input->is_ethernet = TAGGED;
    frame_open(&f, skb, input, START, TAGGED && skb->vlan_present,
               PACKET_FILTER_HEAD);
%s    return bits - skb_field(skb, mark);
}
"""
_FIRST_FUNCTION = 100


def verdicts(programs: Sequence[Program], *, start: int) -> tuple[str, Patches]:
    """Return a program that returns one bit for each of up to 32 filters.

    The frame begins at ``start``; 14 makes it one without an Ethernet header.
    """
    # Without an Ethernet header a frame cannot have a tag.
    lines = [
        source.including("options.h", "packet/frame.h"),
        f"#define START {start}\n",
    ]
    lines += [f"#define TAGGED {int(not start)}\n"]
    lines += [
        f"PATCHED_FUNCTION(filter_{at}, {key}, const struct frame *);\n"
        for at, key in enumerate(
            range(_FIRST_FUNCTION, _FIRST_FUNCTION + len(programs))
        )
    ]
    calls = "".join(
        f"\tbits += filter_{at}(&f) << {at};\n" for at in range(len(programs))
    )
    functions = {
        _FIRST_FUNCTION + at: alone(program) for at, program in enumerate(programs)
    }
    patches = Patches({Option.PACKET_FILTER_HEAD: ebpf.head_len(programs)}, functions)
    return source.text(*lines, _ENTRY % calls), patches


def alone(program: Program) -> bytes:
    """Return the function of a filter that is one program."""
    return function.function(Packet(""), lambda _: program, lambda _: program)
