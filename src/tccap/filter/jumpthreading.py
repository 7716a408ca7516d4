"""Jump threading: a jump to a test whose outcome is known goes to that outcome."""

from collections.abc import Iterator, Mapping

from tccap.filter import cbpf, registers
from tccap.filter.basicblocks import Block, Blocks, Branch, Goto, exits, redirect
from tccap.filter.cbpf import Program
from tccap.filter.registers import body_uses, is_closed

# Known tests of the value that a body computes: (operation, values) -> outcome.
Known = dict[tuple[int, tuple[int, ...]], bool]
Facts = dict[Program, Known]

# Enough for EtherTypes and protocols; without a bound the facts of a chain of n
# addresses would cost n² steps.
MAX_FACTS = 8


def thread(blocks: Blocks) -> Blocks:
    """Let each jump skip the tests that are decided where it starts."""
    live = registers.live(blocks)
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
        threaded[at] = Block(block.body, redirect(block.end, ways))
    return threaded


def _ways(block: Block, facts: Facts) -> Iterator[tuple[int, Facts]]:
    """Yield each exit of the block, with the facts that hold there."""
    if isinstance(block.end, Branch) and is_closed(block):
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
        if live[beyond] & body_uses(blocks[to].body).sets:
            return to
        to = beyond
    return to


def _beyond(block: Block, facts: Facts) -> int | None:
    """Return the exit of a block without effect, if the facts decide it."""
    if isinstance(block.end, Goto):
        return None if block.body else block.end.to
    if not isinstance(block.end, Branch) or not is_closed(block):
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
            possible = set(values) & set(test.values)
            if not possible or possible == set(values):
                return bool(possible)
    return None
