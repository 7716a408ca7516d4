"""A classic BPF program as basic blocks, simplified for clang.

Theory of operation. libpcap compiles `host a or host b or …` into four tests
per host, each behind its own test of the EtherType; its optimiser removes the
repetition, but takes 12 seconds for 500 hosts, and clang is no faster. Here two
passes do it that are linear in practice, after one that unrolls loops:

- *threading*: walking forward, each block knows the tests that are decided on
  all paths to it; a jump to a test whose outcome is known goes to that outcome.
- *grouping*: a chain remains, "source is a? destination is a? source is b? …",
  all with the same exit. Equalities over one value become a single block with
  many values, which clang compiles to a binary search.

Both keep the order in which bytes are first loaded, because a load outside the
frame rejects it: a test moves only to a place where its loads have happened.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
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
# Known tests of the value that a body computes: (operation, values) -> outcome.
Known = dict[tuple[int, tuple[int, ...]], bool]
Facts = dict[Program, Known]

# Enough for EtherTypes and protocols; without a bound the facts of a chain of n
# addresses would cost n² steps.
MAX_FACTS = 8
# Chains of headers ("protochain") are followed this far, in all. Loops would be no
# cheaper, as the verifier follows each turn; and older verifiers refuse some of
# them, depending on how the compiler lays them out ("back-edge").
LOOP_TURNS = 8


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


def simplify(blocks: Blocks) -> Blocks:
    """Return fewer, equivalent blocks without loops: these end after LOOP_TURNS."""
    return _reachable(_group(_thread(_unroll(blocks))))


def _unroll(blocks: Blocks) -> Blocks:
    """Replace each backward jump by one to another copy of its target."""
    back = [to for at, block in blocks.items() for to in exits(block) if to <= at]
    if not back:
        return blocks
    stride = max(blocks) + 1
    given_up = LOOP_TURNS * stride

    def target(turn: int, at: int, to: int) -> int:
        return min((turn + (to <= at)) * stride + to, given_up)

    copies = {
        turn * stride + at: Block(
            block.body,
            _redirect(block.end, [target(turn, at, to) for to in exits(block)]),
        )
        for turn in range(LOOP_TURNS)
        for at, block in blocks.items()
        if turn == 0 or at >= min(back)
    }
    return {**copies, given_up: Block((), Return(0))}


def _reachable(blocks: Blocks) -> Blocks:
    wanted = {0}
    for at, block in blocks.items():
        if at in wanted:
            wanted.update(exits(block))
    return {at: block for at, block in blocks.items() if at in wanted}


# --- the registers of a body --------------------------------------------------


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


def _body_uses(body: Program) -> Uses:
    needs: set[str] = set()
    sets: set[str] = set()
    for insn in body:
        reads, writes = _insn_uses(insn)
        needs.update(set(reads) - sets)
        # One letter stands for sixteen words, so a store never ends a need.
        sets.update(set(writes) - {"M"})
    return Uses(frozenset(needs), frozenset(sets))


def _live(blocks: Blocks) -> dict[int, frozenset[str]]:
    """Return the registers that each block, or a later one, reads before setting."""
    live: dict[int, frozenset[str]] = {}
    for at in sorted(blocks, reverse=True):
        block = blocks[at]
        uses = _body_uses(block.body)
        after = frozenset[str]().union(*(live[to] for to in exits(block)))
        live[at] = uses.needs | ((after | _end_needs(block.end)) - uses.sets)
    return live


def _end_needs(end: End) -> frozenset[str]:
    match end:
        case Branch(_, values):
            return frozenset("A" if values else "AX")
        case Return(None):
            return frozenset("A")
        case _:
            return frozenset()


def _is_closed(block: Block) -> bool:
    """Return whether the outcome depends on the packet alone, without stores."""
    if not block.body or not isinstance(block.end, Branch) or not block.end.values:
        return False
    stores = any(insn.kind in (cbpf.ST, cbpf.STX) for insn in block.body)
    return not stores and not _body_uses(block.body).needs


# --- threading ------------------------------------------------------------------


def _thread(blocks: Blocks) -> Blocks:
    live = _live(blocks)
    facts: dict[int, Facts] = {0: {}}
    threaded: Blocks = {}
    for at, block in blocks.items():
        if at not in facts:
            continue
        ways = []
        for to, known in _ways(block, facts.pop(at)):
            target = _follow(blocks, live, to, known)
            facts[target] = _common(facts[target], known) if target in facts else known
            ways.append(target)
        threaded[at] = Block(block.body, _redirect(block.end, ways))
    return threaded


def _redirect(end: End, ways: list[int]) -> End:
    match end:
        case Branch():
            return end._replace(yes=ways[0], no=ways[1])
        case Goto():
            return Goto(ways[0])
        case Return():
            return end


def _ways(block: Block, facts: Facts) -> Iterator[tuple[int, Facts]]:
    """Yield each exit of the block, with the facts that hold there."""
    if isinstance(block.end, Branch) and _is_closed(block):
        yield block.end.yes, _learn(facts, block.body, block.end, outcome=True)
        yield block.end.no, _learn(facts, block.body, block.end, outcome=False)
    else:
        for to in exits(block):
            yield to, facts


def _learn(facts: Facts, body: Program, test: Branch, *, outcome: bool) -> Facts:
    known = facts.get(body, {})
    if len(known) >= MAX_FACTS or len(facts) >= 2 * MAX_FACTS:
        return facts
    return {**facts, body: {**known, (test.operation, test.values): outcome}}


def _common(some: Facts, others: Facts) -> Facts:
    both = {
        body: dict(some[body].items() & others[body].items())
        for body in some.keys() & others.keys()
    }
    return {body: known for body, known in both.items() if known}


def _follow(
    blocks: Blocks, live: Mapping[int, frozenset[str]], to: int, facts: Facts
) -> int:
    """Return the block where a jump to block `to` ends up, given the facts."""
    while (beyond := _beyond(blocks[to], facts)) is not None:
        if live[beyond] & _body_uses(blocks[to].body).sets:
            return to
        to = beyond
    return to


def _beyond(block: Block, facts: Facts) -> int | None:
    """Return the exit of a block without effect, if the facts decide it."""
    if isinstance(block.end, Goto):
        return None if block.body else block.end.to
    if not isinstance(block.end, Branch) or not _is_closed(block):
        return None
    match _decide(facts.get(block.body, {}), block.end):
        case None:
            return None
        case outcome:
            return block.end.yes if outcome else block.end.no


def _decide(known: Known, test: Branch) -> bool | None:
    same = known.get((test.operation, test.values))
    if same is not None or test.operation != cbpf.JEQ:
        return same
    for (operation, values), outcome in known.items():
        if outcome and operation == cbpf.JEQ:
            return values == test.values
    return None


# --- grouping -------------------------------------------------------------------


class Link(NamedTuple):
    """One equality of a chain: the block's key, the value's body, constants."""

    at: int
    body: Program
    values: tuple[int, ...]


def _group(blocks: Blocks) -> Blocks:
    live = _live(blocks)
    entries = Counter(to for block in blocks.values() for to in exits(block))
    grouped = dict(blocks)
    done: set[int] = set()
    for at in blocks:
        if at in done:
            continue
        chain = list(_chain(blocks, entries, at))
        done.update(link.at for link in chain)
        if len(chain) > 1:
            _regroup(grouped, live, chain)
    return dict(sorted(grouped.items()))


def _chain(blocks: Blocks, entries: Counter[int], at: int) -> Iterator[Link]:
    """Yield the links that follow on "no" and have the same exit on "yes"."""
    body: Program = ()
    out = None
    while True:
        block = blocks[at]
        end = block.end
        fresh = _is_closed(block)
        if not (isinstance(end, Branch) and end.operation == cbpf.JEQ and end.values):
            return
        # An empty body tests the value that the previous link has computed.
        if not (fresh or (body and not block.body)) or out not in (None, end.yes):
            return
        body, out = block.body or body, end.yes
        yield Link(at, body, end.values)
        if entries[end.no] != 1:
            return
        at = end.no


def _regroup(
    blocks: Blocks, live: Mapping[int, frozenset[str]], chain: list[Link]
) -> None:
    first, last = blocks[chain[0].at].end, blocks[chain[-1].at].end
    if not (isinstance(first, Branch) and isinstance(last, Branch)):
        raise TypeError(chain)
    if live[first.yes] | live[last.no]:
        return
    merged = list(_merge(chain))
    following = [link.at for link in merged[1:]] + [last.no]
    for link in chain:
        del blocks[link.at]
    for link, to in zip(merged, following, strict=True):
        blocks[link.at] = Block(link.body, first._replace(values=link.values, no=to))


def _merge(chain: list[Link]) -> Iterator[Link]:
    """Yield fewer links; until each body has run once, they keep their order."""
    first_run = {link.body: at for at, link in reversed(list(enumerate(chain)))}
    settled = max(first_run.values())
    for _, run in groupby(chain[:settled], key=lambda link: link.body):
        yield _joined(list(run))
    by_body: dict[Program, list[Link]] = {}
    for link in chain[settled:]:
        by_body.setdefault(link.body, []).append(link)
    yield from map(_joined, by_body.values())


def _joined(links: list[Link]) -> Link:
    values = {value for link in links for value in link.values}
    return links[0]._replace(values=tuple(sorted(values)))
