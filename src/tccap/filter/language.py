"""The capture filter's language: libpcap's, and words about the process.

    pid 1234 and tcp port 443
    comm curl and (port 80 or port 443)
    not uid 0

`pid N`, `uid N` and `comm NAME` stand where a primitive of pcap-filter(7) may
stand, and combine with `and`, `or`, `not` and parentheses. A text without a
process word is never taken apart, so it means what it means in libpcap.

In libpcap `and` and `or` bind equally, from left to right, and `port 80 or 443`
lends its `port` to what follows. Beside a process word that would surprise, so
there one level of parentheses has either `and` or `or`, not both; its packet
conditions are then put together, in their order, and libpcap gets one text.
"""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tccap.filter.cbpf import FilterError
from tccap.ipc.values import FILTER_LEN_MAX

# The kernel keeps this many bytes of a name (TASK_COMM_LEN, without the NUL).
COMM_LEN: Final = 15
_MAX_DEPTH: Final = 100
_U32: Final = 0xFFFFFFFF
_DIGITS_MAX: Final = len(str(_U32))


def encode(expression: str) -> bytes:
    """Return a capture filter's text as libpcap takes it; FilterError says why not."""
    if "\0" in expression:
        raise FilterError("The capture filter contains a NUL character.")
    try:
        text = expression.encode()
    except UnicodeEncodeError:
        raise FilterError("The capture filter is not valid UTF-8.") from None
    if len(text) > FILTER_LEN_MAX:
        raise FilterError(
            f"The capture filter is {len(text)} bytes long; "
            f"{FILTER_LEN_MAX} are possible."
        )
    return text


class Packet(NamedTuple):
    """A condition on the packet, in libpcap's language."""

    text: str


class Process(NamedTuple):
    """A condition on the packet's process: `word` is pid, uid or comm.

    `value` is a number for pid and uid. For comm it is the name, of at most
    15 bytes. A packet whose process is unknown meets no such condition.
    """

    word: str
    value: int | str


class Not(NamedTuple):
    """True where `of` is false."""

    of: "Filter"


class All(NamedTuple):
    """True where every one of `terms` is."""

    terms: "tuple[Filter, ...]"


class Any(NamedTuple):
    """True where at least one of `terms` is."""

    terms: "tuple[Filter, ...]"


Filter = Packet | Process | Not | All | Any

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign>&&|\|\||[()!\[\]])"""
    r"""|(?P<word>(?:(?!&&|\|\|)[^\s()!\[\]"'])+)|(?P<other>["']))"""
)
_JOINS: Final = {"and": All, "&&": All, "or": Any, "||": Any}
_NOT: Final = ("not", "!")
_PROCESS: Final = ("pid", "uid", "comm")
# What may follow a name in libpcap's language: then "comm" is itself a name.
_NO_VALUE: Final = frozenset([*_JOINS, *_NOT, "(", ")", "[", "]"])
# After these, libpcap expects a name, which may well be "pid".
_TAKES_NAME: Final = frozenset(
    re.findall(
        r"\S+",
        "host net port portrange proto protochain src dst gateway mask ether fddi tr "
        "wlan ip ip6 arp rarp decnet sctp tcp udp iso link ifname on rset ruleset "
        "ra ta addr1 addr2 addr3 addr4",
    )
)


class _Token(NamedTuple):
    text: str
    start: int
    end: int


def parse(text: str) -> Filter:
    """Find the conditions in a text; Packet(text) if it has no process word.

    Raises FilterError with a sentence about what cannot be understood. What
    libpcap thinks of its parts is not looked at.
    """
    tokens = _tokens(text)
    if not any(_starts_process(tokens, at) for at in range(len(tokens))):
        return Packet(text)
    parser = _Parser(text, tokens)
    found = parser.chain(0)
    if parser.at < len(tokens):
        raise FilterError('The capture filter has a ")" without a "(".')
    return found


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(match[match.lastgroup], match.start(match.lastgroup), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup
    ]


def _starts_process(tokens: list[_Token], at: int) -> bool:
    if tokens[at].text not in _PROCESS or at + 1 == len(tokens):
        return False
    after_qualifier = at > 0 and tokens[at - 1].text in _TAKES_NAME
    return not after_qualifier and tokens[at + 1].text not in _NO_VALUE


class _Parser:
    """Recursive descent; `at` is the token that comes next."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self.at = 0

    def _next(self) -> str:
        return self._tokens[self.at].text if self.at < len(self._tokens) else ""

    def chain(self, depth: int) -> Filter:
        """Terms joined by `and` or by `or`, up to the end or a parenthesis."""
        if depth > _MAX_DEPTH:
            raise FilterError("The capture filter is nested too deeply.")
        terms = [self._term(depth)]
        joins = []
        while self._next() in _JOINS:
            joins.append(self._next())
            self.at += 1
            terms.append(self._inherited(terms[-1]) or self._term(depth))
        return _joined(terms, joins)

    def _inherited(self, before: Filter) -> Process | None:
        """`pid 1 or 2`, as libpcap lends `port` in `port 1 or 2`."""
        if not isinstance(before, Process) or before.word == "comm":
            return None
        if not self._next().isdecimal():
            return None
        self.at += 1
        return _process(before.word, self._tokens[self.at - 1].text)

    def _term(self, depth: int) -> Filter:
        start = self.at
        while self._next() in _NOT:
            self.at += 1
        negated = (self.at - start) % 2 == 1
        if self.at < len(self._tokens) and _starts_process(self._tokens, self.at):
            self.at += 2
            word, value = self._tokens[self.at - 2 : self.at]
            term: Filter = _process(word.text, value.text)
        elif self._group_has_process():
            term = self._group(depth)
        else:
            return self._packet(start)
        return Not(term) if negated else term

    def _group(self, depth: int) -> Filter:
        self.at += 1
        inner = self.chain(depth + 1)
        if self._next() != ")":
            raise FilterError('The capture filter has a "(" without a ")".')
        self.at += 1
        return inner

    def _group_has_process(self) -> bool:
        if self._next() != "(":
            return False
        group = range(self.at, self._group_end(self.at))
        return any(_starts_process(self._tokens, at) for at in group)

    def _group_end(self, at: int) -> int:
        """Find the index behind the parenthesis that closes the one at `at`."""
        depth = 0
        for end in range(at, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[end].text, 0)
            if depth == 0:
                return end + 1
        return len(self._tokens)

    def _packet(self, start: int) -> Packet:
        """Take what lies up to the next join or parenthesis, for libpcap to judge."""
        while self._next() not in ("", ")", *_JOINS):
            if _starts_process(self._tokens, self.at):
                raise FilterError(
                    f'The capture filter needs "and" or "or" before "{self._next()}".'
                )
            opens = self._next() == "("
            self.at = self._group_end(self.at) if opens else self.at + 1
        if self.at == start:
            raise FilterError("The capture filter lacks a condition beside a join.")
        span = self._tokens[start].start, self._tokens[self.at - 1].end
        return Packet(self._text[slice(*span)])


def _process(word: str, value: str) -> Process:
    if word == "comm":
        name = value[1:-1] if value[0] in "\"'" else value
        kept = name.encode(errors="replace")[:COMM_LEN]
        return Process(word, kept.decode(errors="ignore"))
    digits = value.lstrip("0") or "0"  # int() refuses more than 4300, zeros included
    is_number = value.isascii() and value.isdecimal() and len(digits) <= _DIGITS_MAX
    if not is_number or int(digits) > _U32:
        raise FilterError(f'In the capture filter, "{word}" takes a number.')
    return Process(word, int(digits))


def _joined(terms: list[Filter], joins: list[str]) -> Filter:
    kinds = {_JOINS[join] for join in joins}
    if len(kinds) > 1:
        raise FilterError(
            'The capture filter mixes "and" with "or" beside a process word: '
            "put parentheses around what belongs together, as in "
            '"pid 1 and (port 80 or port 443)".'
        )
    if not kinds:
        return terms[0]
    texts = [term.text for term in terms if isinstance(term, Packet)]
    others = [term for term in terms if not isinstance(term, Packet)]
    packet = [Packet(f" {joins[0]} ".join(texts))] if texts else []
    every = (*packet, *others)
    return All(every) if All in kinds else Any(every)


# --- what can be done with a filter -----------------------------------------------


def packets(of: Filter) -> Iterator[Packet]:
    """Every condition on the packet, from left to right."""
    match of:
        case Packet():
            yield of
        case Not(inner):
            yield from packets(inner)
        case All(terms) | Any(terms):
            for term in terms:
                yield from packets(term)
        case Process():
            return


def packet_only(of: Filter) -> Filter | None:
    """Return the strictest condition on the packet that `of` implies, if any."""
    return _implied(of, negated=False)


def _implied(of: Filter, *, negated: bool) -> Filter | None:
    match of:
        case Packet():
            return Not(of) if negated else of
        case Process():
            return None
        case Not(inner):
            return _implied(inner, negated=not negated)
        case All(terms) | Any(terms):
            implied = [_implied(term, negated=negated) for term in terms]
    known = tuple(term for term in implied if term is not None)
    # "Not all" is "some not": negation swaps the two.
    if isinstance(of, All) != negated:
        return All(known) if known else None
    return Any(known) if len(known) == len(implied) else None


def evaluate(
    of: Filter,
    packet: Callable[[Packet], bool],
    process: Callable[[Process], bool],
) -> bool:
    """Compute the filter's verdict, given that of its conditions."""
    match of:
        case Packet():
            return packet(of)
        case Process():
            return process(of)
        case Not(inner):
            return not evaluate(inner, packet, process)
        case All(terms):
            return all(evaluate(term, packet, process) for term in terms)
        case Any(terms):
            return any(evaluate(term, packet, process) for term in terms)


def to_c(
    of: Filter,
    packet: Callable[[Packet], str],
    process: Callable[[Process], str],
) -> str:
    """Write the filter as a C expression, given those of its conditions."""
    match of:
        case Packet():
            return packet(of)
        case Process():
            return process(of)
        case Not(inner):
            return f"!{to_c(inner, packet, process)}"
        case All(terms) | Any(terms):
            join = " && " if isinstance(of, All) else " || "
            return f"({join.join(to_c(term, packet, process) for term in terms)})"


def comm_words(comm: str) -> tuple[int, int]:
    """Return a name as two native 64-bit numbers, as the kernel's 16 bytes hold it."""
    padded = comm.encode()[:COMM_LEN].ljust(16, b"\0")
    first, second = padded[:8], padded[8:]
    return int.from_bytes(first, sys.byteorder), int.from_bytes(second, sys.byteorder)
