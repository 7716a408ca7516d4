"""The registers that basic blocks read and set: A, X, and M for the scratch words."""

from functools import lru_cache
from typing import Final, NamedTuple

from tccap.filter import cbpf
from tccap.filter.basicblocks import Block, Blocks, Branch, End, Return, exits
from tccap.filter.cbpf import Insn, Program

_NOTHING: Final = frozenset[str]()
_A: Final = frozenset("A")
_A_AND_X: Final = frozenset("AX")


class Uses(NamedTuple):
    """Registers, by letter, that a body reads before setting them, and that it sets."""

    needs: frozenset[str]
    sets: frozenset[str]


def _insn_uses(insn: Insn) -> tuple[str, str]:
    match insn.kind:
        case cbpf.LD | cbpf.LDX:
            source = {cbpf.IND: "X", cbpf.MEM: "M"}.get(insn.mode, "")
            return source, "A" if insn.kind == cbpf.LD else "X"
        case cbpf.ST:
            return "A", "M"
        case cbpf.STX:
            return "X", "M"
        case cbpf.ALU:
            by_x = insn.operation != cbpf.NEG and insn.takes_x
            return "AX" if by_x else "A", "A"
        case _:
            return ("X", "A") if insn.code & cbpf.TXA else ("A", "X")


# Long filters consist of few bodies that differ.
@lru_cache(maxsize=1024)
def body_uses(body: Program) -> Uses:
    """Return the registers that a body uses."""
    needs: set[str] = set()
    sets: set[str] = set()
    for insn in body:
        reads, writes = _insn_uses(insn)
        needs.update(set(reads) - sets)
        # One letter stands for sixteen words, so a store never ends a need.
        sets.update(set(writes) - {"M"})
    return Uses(frozenset(needs), frozenset(sets))


def live(blocks: Blocks) -> dict[int, frozenset[str]]:
    """Return the registers that each block, or a later one, reads before setting."""
    reads: dict[int, frozenset[str]] = {}
    for at in sorted(blocks, reverse=True):
        block = blocks[at]
        uses = body_uses(block.body)
        after = _end_needs(block.end)
        for to in exits(block):
            after |= reads[to]
        reads[at] = uses.needs | (after - uses.sets)
    return reads


def _end_needs(end: End) -> frozenset[str]:
    match end:
        case Branch(_, values):
            return _A if values else _A_AND_X
        case Return(None):
            return _A
        case _:
            return _NOTHING


def is_closed(block: Block) -> bool:
    """Return whether the outcome depends on the packet alone, without stores."""
    if not block.body or not isinstance(block.end, Branch) or not block.end.values:
        return False
    return _is_closed_body(block.body)


@lru_cache(maxsize=1024)
def _is_closed_body(body: Program) -> bool:
    stores = any(insn.kind in (cbpf.ST, cbpf.STX) for insn in body)
    return not stores and not body_uses(body).needs
