"""Blocks that load what they test, instead of relying on the block before them.

libpcap's optimiser loads a value once for a row of tests, and shares the end of a row
between several beginnings. The other passes compare tests by what they load. So each
test gets its loads back, and where a block tests a different value for each way to it,
each way gets a copy of the block. The loads that are repeated have succeeded before.
"""

from typing import NamedTuple

from tccap.filter import cbpf, registers
from tccap.filter.basicblocks import Block, Blocks, Branch, exits, redirect
from tccap.filter.cbpf import Program
from tccap.filter.registers import body_uses

# Enough for the families of addresses; more copies than this are not worth their size.
_GROWTH_MAX = 3


class _Origin(NamedTuple):
    """The loads that A and X come from, where they matter and are known."""

    a: Program | None
    x: Program | None


_UNKNOWN = _Origin(None, None)


def make_selfcontained(blocks: Blocks) -> Blocks:
    """Return equivalent blocks; the same ones if there would be too many copies."""
    live = registers.live(blocks)
    arriving: dict[int, dict[_Origin, None]] = {0: {_UNKNOWN: None}}
    copies: list[tuple[int, _Origin, Block, _Origin]] = []
    for at in sorted(blocks):
        for origin in arriving.get(at, ()):
            block, after = _completed(blocks[at], origin, live[at])
            copies.append((at, origin, block, after))
            for to in exits(block):
                arriving.setdefault(to, {})[_needed(after, live[to])] = None
        if len(copies) > _GROWTH_MAX * len(blocks):
            return blocks
    keys = {(at, origin): key for key, (at, origin, _, _) in enumerate(copies)}
    return {
        key: block._replace(
            end=redirect(
                block.end,
                [keys[to, _needed(after, live[to])] for to in exits(block)],
            )
        )
        for key, (_, _, block, after) in enumerate(copies)
    }


def _needed(origin: _Origin, live: frozenset[str]) -> _Origin:
    a, x = origin
    return _Origin(a if "A" in live else None, x if "X" in live else None)


def _completed(
    block: Block, origin: _Origin, live: frozenset[str]
) -> tuple[Block, _Origin]:
    """Return the block with its loads, and where A and X come from behind it."""
    loads = _with_loads(block, origin, live)
    if loads is None:
        sets = body_uses(block.body).sets
        unknown = (
            None if register in sets else known
            for register, known in zip("AX", origin, strict=True)
        )
        return block, _Origin(*unknown)
    sets = body_uses(loads).sets
    return block._replace(body=loads), _Origin(
        loads if "A" in sets else origin.a,
        _loads_of_x(loads) if "X" in sets else origin.x,
    )


def _with_loads(block: Block, origin: _Origin, live: frozenset[str]) -> Program | None:
    """Return a body that depends on the packet alone; None if it is not known."""
    uses = body_uses(block.body)
    if any(insn.kind in (cbpf.ST, cbpf.STX) for insn in block.body):
        return None
    if not block.body:
        is_test = isinstance(block.end, Branch) and block.end.values
        return origin.a if is_test and _keeps_x(origin, live) else None
    if not uses.needs:
        return block.body
    if uses.needs == {"X"} and origin.x and "A" in uses.sets:
        return origin.x + block.body
    return None


def _keeps_x(origin: _Origin, live: frozenset[str]) -> bool:
    """Return whether loading A again leaves in X what is needed there."""
    if origin.a is None or "X" not in live or "X" not in body_uses(origin.a).sets:
        return True
    return origin.x == _loads_of_x(origin.a)


def _loads_of_x(loads: Program) -> Program:
    """Return the beginning of a body, up to where it sets X for the last time."""
    sets = [at for at, insn in enumerate(loads) if "X" in body_uses((insn,)).sets]
    return loads[: sets[-1] + 1]
