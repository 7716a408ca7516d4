"""Grouping: a chain of equalities over one value becomes one block with many values."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from tccap.filter import cbpf, registers
from tccap.filter.basicblocks import Block, Blocks, Branch, exits
from tccap.filter.cbpf import Program


class Link(NamedTuple):
    """One equality of a chain: the block's key, the value's body, constants."""

    at: int
    body: Program
    values: tuple[int, ...]


def group(blocks: Blocks) -> Blocks:
    """Merge chains of equalities over one value into single blocks."""
    live = registers.live(blocks)
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
        fresh = registers.is_closed(block)
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
