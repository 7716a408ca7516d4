"""Basic blocks of classic BPF, simplified.

Theory of operation. libpcap compiles `host a or host b or …` into four tests
per host, each behind its own test of the EtherType; its optimiser removes the
repetition, but takes 12 seconds for 500 hosts, so it gets few of them at a time
(chunks.py). Three passes do the rest, which are linear in practice, after one that
unrolls loops:

- *loads* (selfcontained.py): each test gets the loads of its value.
- *threading* (jumpthreading.py): walking forward, each block knows the tests that
  are decided on all paths to it; a jump to a test whose outcome is known goes to
  that outcome.
- *grouping* (grouping.py): a chain remains, "source is a? destination is a? source
  is b? …", all with the same exit. Equalities over one value become a single
  block with many values, which becomes a binary search.

They keep the order in which bytes are first loaded, because a load outside the
frame rejects it: a test moves only to a place where its loads have happened.
"""

from tccap.filter.basicblocks import Block, Blocks, Return, exits, redirect
from tccap.filter.grouping import group
from tccap.filter.jumpthreading import thread
from tccap.filter.selfcontained import make_selfcontained

# Chains of headers ("protochain") are followed this far, in all. Loops would be no
# cheaper, as the verifier follows each turn; and older verifiers refuse some of
# them, depending on how the compiler lays them out ("back-edge").
LOOP_TURNS = 8


def simplify(blocks: Blocks) -> Blocks:
    """Return fewer, equivalent blocks without loops: these end after LOOP_TURNS."""
    simple = make_selfcontained(_with_one_end(_unroll(blocks)))
    # Grouped tests, such as that for the three protocols with ports, can be threaded.
    return _reachable(group(thread(_reachable(group(simple)))))


def _with_one_end(blocks: Blocks) -> Blocks:
    """Let all jumps to the same verdict lead to one block, so that chains are long."""
    ends = {block.end: at for at, block in blocks.items() if _is_end(block)}
    same = {at: ends[block.end] for at, block in blocks.items() if _is_end(block)}
    return {
        at: block._replace(
            end=redirect(block.end, [same.get(to, to) for to in exits(block)])
        )
        for at, block in blocks.items()
    }


def _is_end(block: Block) -> bool:
    return not block.body and isinstance(block.end, Return)


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
            redirect(block.end, [target(turn, at, to) for to in exits(block)]),
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
