"""Basic blocks of classic BPF as C for the kernel's classifier.

The C uses `bpf/packet/frame.h`: `struct frame` is the packet as the capture file will
show it, and its `head` is a contiguous copy of the first bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tccap.filter import cbpf
from tccap.filter.basicblocks import (
    Block,
    Blocks,
    Branch,
    Goto,
    Return,
    exits,
    parse,
)
from tccap.filter.cbpf import Insn, Program
from tccap.filter.simplify import simplify

# `head` is on the classifier's stack, which has 512 bytes in all.
HEAD_MAX: Final = 96
# frame.h reads the 16 bytes around a VLAN tag, and those that follow.
HEAD_MIN: Final = 20

_OPERATORS: Final = {
    cbpf.ADD: "+",
    cbpf.SUB: "-",
    cbpf.MUL: "*",
    cbpf.DIV: "/",
    cbpf.OR: "|",
    cbpf.AND: "&",
    cbpf.LSH: "<<",
    cbpf.RSH: ">>",
    cbpf.MOD: "%",
    cbpf.XOR: "^",
}
_RELATIONS: Final = {
    cbpf.JEQ: "A == {}",
    cbpf.JGT: "A > {}",
    cbpf.JGE: "A >= {}",
    cbpf.JSET: "A & {}",
}


def head_len(programs: Sequence[Program]) -> int:
    """Return FRAME_HEAD for these programs: the bytes that their fixed loads reach."""
    ends = [
        insn.k + insn.size
        for program in programs
        for insn in program
        if insn.kind in (cbpf.LD, cbpf.LDX) and insn.mode in (cbpf.ABS, cbpf.MSH)
    ]
    return max([HEAD_MIN, *(end for end in ends if end <= HEAD_MAX)])


def function(name: str, program: Program, *, head: int, pad: int) -> str:
    """Return the C text of `static bool NAME(const struct frame *f)`.

    `head` is the value of FRAME_HEAD; its copy on the stack begins `pad` bytes
    behind an address divisible by 8. The verifier refuses unaligned loads from the
    stack, so they are put together from smaller ones. Raises FilterError for a
    program that cannot be translated.
    """
    cbpf.check(program)
    blocks = simplify(parse(program))
    body = "".join(f"\t{line}\n" for line in _Writer(blocks, head, pad).lines())
    return f"static __always_inline bool {name}(const struct frame *f)\n{{\n{body}}}\n"


class _Writer:
    def __init__(self, blocks: Blocks, head: int, pad: int) -> None:
        self._blocks = blocks
        self._head = head
        self._pad = pad

    def lines(self) -> Iterator[str]:
        yield from self._variables()
        following = [*list(self._blocks)[1:], -1]
        targets = {to for block in self._blocks.values() for to in exits(block)}
        for (at, block), after in zip(self._blocks.items(), following, strict=True):
            if at in targets:
                yield f"b{at}:;"
            for insn in block.body:
                yield from self._insn(insn)
            yield from self._end(block, after)

    def _variables(self) -> Iterator[str]:
        yield "u32 A = 0, X = 0;"
        insns = [insn for block in self._blocks.values() for insn in block.body]
        for word in sorted({insn.k for insn in insns if cbpf.is_scratch(insn)}):
            yield f"u32 M{word} = 0;"

    # --- exits --------------------------------------------------------------------

    def _end(self, block: Block, after: int) -> Iterator[str]:
        match block.end:
            case Return(value):
                yield f"return {'A' if value is None else value} != 0;"
            case Goto(to):
                yield from self._goto(to, after)
            case Branch() as test:
                yield from self._test(test)
                yield from self._goto(test.no, after)

    def _goto(self, to: int, after: int) -> Iterator[str]:
        if to != after:
            yield f"goto b{to};"

    def _test(self, test: Branch) -> Iterator[str]:
        if len(test.values) > 1:
            cases = "".join(f" case {value:#x}:" for value in test.values)
            yield f"switch (A) {{{cases} goto b{test.yes}; }}"
            return
        operand = f"{test.values[0]:#x}U" if test.values else "X"
        relation = _RELATIONS[test.operation].format(operand)
        yield f"if ({relation}) goto b{test.yes};"

    # --- instructions ---------------------------------------------------------------

    def _insn(self, insn: Insn) -> Iterator[str]:
        match insn.kind:
            case cbpf.LD | cbpf.LDX:
                yield from self._load("A" if insn.kind == cbpf.LD else "X", insn)
            case cbpf.ST:
                yield f"M{insn.k} = A;"
            case cbpf.STX:
                yield f"M{insn.k} = X;"
            case cbpf.ALU:
                yield from _arithmetic(insn)
            case _:
                yield "A = X;" if insn.code & cbpf.TXA else "X = A;"

    def _load(self, register: str, insn: Insn) -> Iterator[str]:
        match insn.mode:
            case cbpf.IMM:
                yield f"{register} = {insn.k:#x}U;"
            case cbpf.MEM:
                yield f"{register} = M{insn.k};"
            case cbpf.LEN:
                yield f"{register} = f->len;"
            case cbpf.IND:
                at = f"(u64)X + {insn.k:#x}U"
                yield f"if (!frame_read(f, {at}, {insn.size}, &A)) return false;"
            case _:
                yield from self._fixed_load(register, insn)
        if insn.mode == cbpf.MSH:
            yield "X = (X & 0xf) << 2;"

    def _fixed_load(self, register: str, insn: Insn) -> Iterator[str]:
        end = insn.k + insn.size
        if end > self._head:
            read = f"frame_read(f, {insn.k:#x}U, {insn.size}, &{register})"
            yield f"if (!{read}) return false;"
        else:
            yield f"if (f->len < {end}) return false;"
            yield f"{register} = {self._from_head(insn.k, insn.size)};"

    def _from_head(self, at: int, size: int) -> str:
        if (at + self._pad) % size == 0:
            return f"frame_u{8 * size}(f->head + {at})"
        half = size // 2
        high, low = self._from_head(at, half), self._from_head(at + half, half)
        return f"({high} << {8 * half} | {low})"


def _arithmetic(insn: Insn) -> Iterator[str]:
    if insn.operation == cbpf.NEG:
        yield "A = -A;"
        return
    operand = "X" if insn.takes_x else f"{insn.k:#x}U"
    operator = _OPERATORS[insn.operation]
    if insn.operation in (cbpf.DIV, cbpf.MOD):
        yield f"if ({operand} == 0) return false;"
    if insn.operation in (cbpf.LSH, cbpf.RSH):
        yield f"A = {operand} < 32 ? A {operator} ({operand} & 31) : 0;"
    else:
        yield f"A = A {operator} {operand};"
