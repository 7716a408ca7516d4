"""A classic BPF program as basic blocks."""

from typing import NamedTuple

from tccap.filter import cbpf
from tccap.filter.cbpf import Insn, Program


class Branch(NamedTuple):
    """Leave a block by one of two exits, after comparing A.

    `operation` is JEQ, JGT, JGE or JSET. `values` holds the constants: one,
    several for JEQ (equal to any of them), none when the operand is X.
    """

    operation: int
    values: tuple[int, ...]
    yes: int
    no: int


class Goto(NamedTuple):
    """Leave a block for another one, unconditionally."""

    to: int


class Return(NamedTuple):
    """Leave the program; a `value` of None means A."""

    value: int | None


End = Branch | Goto | Return


class Block(NamedTuple):
    """Instructions without a jump, and the exit."""

    body: Program
    end: End


# By the index of the block's first instruction; the program starts at 0.
Blocks = dict[int, Block]


def parse(program: Program) -> Blocks:
    """Cut a program that `cbpf.check` accepts into blocks."""
    leaders = {0}
    for at, insn in enumerate(program):
        if insn.kind == cbpf.JMP:
            leaders.update(cbpf.successors(at, insn))
    return {at: _block(program, at, leaders) for at in sorted(leaders)}


def _block(program: Program, start: int, leaders: set[int]) -> Block:
    at = start
    while program[at].kind not in (cbpf.JMP, cbpf.RET):
        at += 1
        if at in leaders:
            return Block(program[start:at], Goto(at))
    return Block(program[start:at], _end(at, program[at]))


def _end(at: int, insn: Insn) -> End:
    if insn.kind == cbpf.RET:
        return Return(None if insn.code & cbpf.A else insn.k)
    yes, *no = cbpf.successors(at, insn)
    if not no:
        return Goto(yes)
    values = () if insn.takes_x else (insn.k,)
    return Branch(insn.operation, values, yes, no[0])


def exits(block: Block) -> tuple[int, ...]:
    """Return the keys of the blocks that may follow."""
    match block.end:
        case Branch(_, _, yes, no):
            return (yes, no)
        case Goto(to):
            return (to,)
        case _:
            return ()


def redirect(end: End, ways: list[int]) -> End:
    """Return the same end with other exits, in the order of `exits`."""
    match end:
        case Branch():
            return end._replace(yes=ways[0], no=ways[1])
        case Goto():
            return Goto(ways[0])
        case Return():
            return end
