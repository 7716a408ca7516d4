import re

import pytest

from support.libpcap_oracle import ETHERNET
from tccap.filter import cbpf, emit, libpcap
from tccap.filter.cbpf import FilterError, Insn

ACCEPT = Insn(cbpf.RET, 0, 0, 1)


def c_of(*insns: Insn, head: int = 64, pad: int = 2) -> str:
    return emit.function("f", (*insns, ACCEPT), head=head, pad=pad)


def test_a_load_is_aligned_for_the_stack() -> None:
    word = Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 14)
    assert "A = frame_u32(f->head + 14);" in c_of(word)
    halves = "(frame_u16(f->head + 14) << 16 | frame_u16(f->head + 16))"
    assert f"A = {halves};" in c_of(word, pad=0)


def test_a_load_behind_the_head_is_a_read() -> None:
    far = Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 61)
    assert "frame_read(f, 0x3dU, 4, &A)" in c_of(far)


def test_the_head_covers_the_fixed_loads_within_reason() -> None:
    near = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 56)
    far = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 1000)
    assert emit.head_len([(near, ACCEPT), (far, ACCEPT)]) == 58
    assert emit.head_len([(ACCEPT,)]) == emit.HEAD_MIN


@pytest.mark.parametrize(
    "text", ["ip6 protochain 6", "ip protochain 6 or ip6 protochain 17"]
)
def test_loops_are_unrolled(text: str) -> None:
    program = libpcap.compile_filter(text, ETHERNET)
    c_text = emit.function("f", program, head=64, pad=2)
    targets = set(re.findall(r"goto (b\d+);", c_text))
    assert targets
    for target in targets:
        assert c_text.rindex(f"goto {target};") < c_text.index(f"{target}:;")


@pytest.mark.parametrize(
    ("insn", "c"),
    [
        (Insn(cbpf.ALU | cbpf.NEG, 0, 0, 0), "A = -A;"),
        (Insn(cbpf.ALU | cbpf.XOR | cbpf.X, 0, 0, 0), "A = A ^ X;"),
        (Insn(cbpf.ALU | cbpf.DIV | cbpf.X, 0, 0, 0), "if (X == 0) return false;"),
        # In C, a shift by 32 or more is undefined.
        (Insn(cbpf.ALU | cbpf.LSH | cbpf.X, 0, 0, 0), "X < 32 ? A << (X & 31) : 0"),
        (Insn(cbpf.LD | cbpf.WORD | cbpf.LEN, 0, 0, 0), "A = f->len;"),
        (Insn(cbpf.LDX | cbpf.BYTE | cbpf.MSH, 0, 0, 14), "X = (X & 0xf) << 2;"),
        (Insn(cbpf.ST, 0, 0, 3), "M3 = A;"),
    ],
)
def test_instructions(insn: Insn, c: str) -> None:
    assert c in c_of(insn)


def test_a_program_that_cannot_be_translated_is_refused() -> None:
    with pytest.raises(FilterError):
        emit.function("f", (Insn(0xFF, 0, 0, 0), ACCEPT), head=64, pad=2)
