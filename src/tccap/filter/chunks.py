"""A long filter in parts: libpcap's time grows with the square of a text's length.

The parts are compiled one by one, and their programs joined. That is done only where it
cannot change the meaning: for a chain of conditions that are joined by the same word
and contain only addresses, ports and protocols. In other texts a condition may depend
on those before it: `port 80 or 443`, `vlan and ip`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tccap.filter import cbpf
from tccap.filter.cbpf import Insn, Program
from tccap.filter.tokens import JOINS, NOT, Token, split

_AND: Final = ("and", "&&")
# A condition that begins so takes nothing from the one before it.
_BEGINNINGS: Final = frozenset(
    re.findall(
        r"\S+", "host net port portrange src dst tcp udp sctp icmp icmp6 ip ip6 arp"
    )
)
_PLAIN: Final = frozenset([*_BEGINNINGS, *JOINS, *NOT, "(", ")", "proto", "mask"])
_VALUE: Final = re.compile(r"(?=.*[\d:])[\da-fA-F.:/-]+")
# libpcap translates again for each jump of more than 255 instructions. These have few.
_CONDITIONS: Final = 16


def chunks(text: str) -> list[str]:
    """Return the parts of a text, to be compiled one by one and joined by `join`."""
    tokens = _without_parentheses(split(text))
    joins = list(_joins(tokens))
    same = len({tokens[at].text in _AND for at in joins}) == 1
    if not same or not all(_is_plain(token) for token in tokens):
        return [text]
    cuts = [at for at in joins if _is_cut(tokens, at)][_CONDITIONS - 1 :: _CONDITIONS]
    ends = [*(tokens[at].start for at in cuts), tokens[-1].end]
    starts = [tokens[0].start, *(tokens[at].end for at in cuts)]
    parts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return parts if cuts else [text]


def join(text: str, programs: Sequence[Program]) -> Program:
    """Return one program for the whole text, from those of its parts."""
    tokens = _without_parentheses(split(text))
    is_and = any(tokens[at].text in _AND for at in _joins(tokens))
    whole: list[Insn] = []
    for program in programs[:-1]:
        for at, insn in enumerate(program):
            goes_on = insn.code == cbpf.RET | cbpf.K and bool(insn.k) == is_and
            to_next = Insn(cbpf.JMP | cbpf.JA, 0, 0, len(program) - at - 1)
            whole.append(to_next if goes_on else insn)
    return (*whole, *programs[-1])


def _without_parentheses(tokens: list[Token]) -> list[Token]:
    """Return what is inside parentheses around the whole text."""
    opened: list[int] = []
    pairs = set()
    for at, token in enumerate(tokens):
        if token.text == "(":
            opened.append(at)
        elif token.text == ")" and opened:
            pairs.add((opened.pop(), at))
    first, last = 0, len(tokens) - 1
    while (first, last) in pairs:
        first, last = first + 1, last - 1
    return tokens[first : last + 1]


def _joins(tokens: Sequence[Token]) -> Iterator[int]:
    """Yield the indices of the words that join conditions outside parentheses."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        between = tokens[at - 1].text not in ("src", "dst") if at else False
        if depth == 0 and token.text in JOINS and between:
            yield at


def _is_plain(token: Token) -> bool:
    return token.text in _PLAIN or bool(_VALUE.fullmatch(token.text))


def _is_cut(tokens: Sequence[Token], at: int) -> bool:
    before = tokens[at - 1].text
    after = (tokens[place].text for place in range(at + 1, len(tokens)))
    first = next((each for each in after if each not in (*NOT, "(")), "")
    ends = before == ")" or bool(_VALUE.fullmatch(before))
    return ends and first in _BEGINNINGS
