"""The capture filter's language: libpcap's, and words of tccap's own.

    pid 1234 and tcp port 443
    comm curl and (port 80 or port 443)
    not uid root
    inbound and ifindex 2

`pid N`, `uid N` (or a user's name) and `comm NAME` are allowed wherever a primitive
of pcap-filter(7) is, and combine with `and`, `or`, `not` and parentheses; an `==` or
`=` before the value is allowed, too. So are `inbound`, `outbound` and `ifindex N`,
which libpcap compiles for its own live captures only: they are about what the frame
itself does not hold. `container`, `pod`, `namespace` and `unit` take a glob. A text
without such a word goes to libpcap as it is, so it keeps libpcap's meaning.

In libpcap `and` and `or` have the same precedence, from left to right, and in
`port 80 or 443` the `port` applies to both numbers. Beside such a word that would
surprise people, so there one level of parentheses has either `and` or `or`, not both.
Its conditions on the packet are joined, in their order, into one text for libpcap.
"""

import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from tccap.filter.cbpf import FilterError
from tccap.filter.tokens import (
    DIRECTIONS,
    EQUALS,
    IFINDEX,
    JOINS,
    NO_VALUE,
    NOT,
    PLACES,
    QUOTES,
    Token,
    split,
    starts_own,
)
from tccap.host import users
from tccap.ipc.values import FILTER_LEN_MAX, PATTERN_LEN_MAX, number_of

# The kernel keeps this many bytes of a name (TASK_COMM_LEN, without the NUL).
COMM_LEN: Final = 15
_MAX_DEPTH: Final = 100
_NAMED: Final = ("comm", *PLACES)
# The kernel has as many bits for conditions on a process's place.
PLACE_WORDS_MAX: Final = 64


def encode(expression: str) -> bytes:
    """Return the text as UTF-8 for libpcap; raise FilterError if it cannot be."""
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
    """A condition on the packet's process: `word` is pid, uid, comm or one of PLACES.

    `value` is a number for pid and uid. For comm it is the name, of at most
    15 bytes, for PLACES a glob. It is false for a packet whose process is unknown.
    """

    word: str
    value: int | str


class Context(NamedTuple):
    """A condition on the frame's way: `word` is inbound, outbound or ifindex.

    `number` is the index of the device for ifindex, else 0.
    """

    word: str
    number: int


class Not(NamedTuple):
    """True where `of` is false."""

    of: "Filter"


class All(NamedTuple):
    """True where all of `terms` are."""

    terms: "tuple[Filter, ...]"


class Any(NamedTuple):
    """True where at least one of `terms` is."""

    terms: "tuple[Filter, ...]"


Filter = Packet | Process | Context | Not | All | Any


def parse(text: str) -> Filter:
    """Return the conditions in a text; Packet(text) if it has no word of tccap's.

    Raises FilterError with a sentence about the mistake. libpcap checks the
    conditions on the packet later.
    """
    tokens = split(text)
    if not any(starts_own(tokens, at) for at in range(len(tokens))):
        return Packet(text)
    if any(token.text in QUOTES for token in tokens):
        raise FilterError(
            "The capture filter has an opening quote without a closing one: "
            'write comm "Web Content".'
        )
    parser = _Parser(text, tokens)
    found = parser.chain(0)
    if parser.at < len(tokens):
        raise FilterError('The capture filter has a ")" without a "(".')
    return found


class _Parser:
    """Recursive descent; `at` is the index of the next token."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
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
        while self._next() in JOINS:
            joins.append(self._next())
            self.at += 1
            terms.append(self._inherited(terms[-1]) or self._term(depth))
        if self._next() not in ("", ")"):
            raise self._join_missing(terms[-1])
        return _joined(terms, joins)

    def _join_missing(self, before: Filter | None) -> FilterError:
        is_name = isinstance(before, Process) and before.word in _NAMED
        hint = '; quote a name with spaces: comm "Web Content"' if is_name else ""
        return FilterError(
            f'The capture filter needs "and" or "or" before "{self._next()}"{hint}.'
        )

    def _inherited(self, before: Filter) -> Process | None:
        """`pid 1 or 2`, as libpcap lends `port` in `port 1 or 2`."""
        if not isinstance(before, Process) or before.word in _NAMED:
            return None
        if not self._next().isdecimal():
            return None
        self.at += 1
        return _process(before.word, self._tokens[self.at - 1].text)

    def _term(self, depth: int) -> Filter:
        start = self.at
        while self._next() in NOT:
            self.at += 1
        negated = (self.at - start) % 2 == 1
        if self.at < len(self._tokens) and starts_own(self._tokens, self.at):
            term: Filter = self._own_term()
        elif self._group_has_own():
            term = self._group(depth)
        else:
            return self._packet(start)
        return Not(term) if negated else term

    def _own_term(self) -> Process | Context:
        """`pid 1`, or `pid == 1` as in display filters; `inbound`."""
        word = self._next()
        self.at += 1
        if word in DIRECTIONS:
            return Context(word, 0)
        if self._next() in EQUALS:
            self.at += 1
        value = self._next()
        if value in ("", *EQUALS, *NO_VALUE):
            raise FilterError(f'The capture filter lacks a value after "{word}".')
        self.at += 1
        if word == IFINDEX:
            return Context(word, _number(word, value))
        return _process(word, value)

    def _group(self, depth: int) -> Filter:
        self.at += 1
        inner = self.chain(depth + 1)
        if self._next() != ")":
            raise FilterError('The capture filter has a "(" without a ")".')
        self.at += 1
        return inner

    def _group_has_own(self) -> bool:
        if self._next() != "(":
            return False
        group = range(self.at, self._group_end(self.at))
        return any(starts_own(self._tokens, at) for at in group)

    def _group_end(self, at: int) -> int:
        """Return the index behind the parenthesis that closes the one at `at`."""
        depth = 0
        for end in range(at, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[end].text, 0)
            if depth == 0:
                return end + 1
        return len(self._tokens)

    def _packet(self, start: int) -> Packet:
        """Take everything up to the next join or parenthesis, for libpcap to check."""
        while self._next() not in ("", ")", *JOINS):
            if starts_own(self._tokens, self.at):
                raise self._join_missing(None)
            opens = self._next() == "("
            self.at = self._group_end(self.at) if opens else self.at + 1
        if self.at == start:
            before = f'before "{self._next()}"' if self._next() else "at its end"
            raise FilterError(f"The capture filter lacks a condition {before}.")
        span = self._tokens[start].start, self._tokens[self.at - 1].end
        return Packet(self._text[slice(*span)])


def _process(word: str, value: str) -> Process:
    if word == "pid":
        return Process(word, _number(word, value))
    name = value[1:-1] if value[0] in QUOTES else value
    if word == "uid":
        return Process(word, _uid(name))
    if word in PLACES:
        return Process(word, _pattern(word, name))
    kept = name.encode(errors="replace")[:COMM_LEN]
    return Process(word, kept.decode(errors="ignore"))


def _pattern(word: str, name: str) -> str:
    if not 0 < len(name.encode(errors="replace")) <= PATTERN_LEN_MAX:
        raise FilterError(
            f'In the capture filter, "{word}" takes a name of 1 to {PATTERN_LEN_MAX} '
            "bytes."
        )
    return name


def _number(word: str, value: str) -> int:
    number = number_of(value)
    if number is None:
        raise FilterError(f'In the capture filter, "{word}" takes a number.')
    return number


def _uid(value: str) -> int:
    number = number_of(value)
    uid = users.uid_of(value) if number is None else number
    if uid is None:
        raise FilterError(
            'In the capture filter, "uid" takes a number or the name of a user; '
            f'there is no user "{value}".'
        )
    return uid


def _joined(terms: list[Filter], joins: list[str]) -> Filter:
    kinds = {All if join in ("and", "&&") else Any for join in joins}
    if len(kinds) > 1:
        raise FilterError(
            'The capture filter mixes "and" with "or", and has words that only tccap '
            "knows (such as pid): put parentheses around the conditions that belong "
            'together, as in "pid 1 and (port 80 or port 443)".'
        )
    if not kinds:
        return terms[0]
    texts = [term.text for term in terms if isinstance(term, Packet)]
    others = [term for term in terms if not isinstance(term, Packet)]
    packet = [Packet(f" {joins[0]} ".join(texts))] if texts else []
    every = (*packet, *others)
    return All(every) if All in kinds else Any(every)


# --- uses of a filter ---------------------------------------------------------------


def packets(of: Filter) -> Iterator[Packet]:
    """Yield every condition on the packet, from left to right."""
    match of:
        case Packet():
            yield of
        case Not(inner):
            yield from packets(inner)
        case All(terms) | Any(terms):
            for term in terms:
                yield from packets(term)
        case Process() | Context():
            return


def processes(of: Filter) -> Iterator[Process]:
    """Yield every condition on the process, from left to right."""
    match of:
        case Process():
            yield of
        case Not(inner):
            yield from processes(inner)
        case All(terms) | Any(terms):
            for term in terms:
                yield from processes(term)
        case Packet() | Context():
            return


def place_words(of: Filter) -> tuple[tuple[str, str], ...]:
    """Return the conditions on a process's place, each once: word and glob.

    FilterError if they are too many.
    """
    found = [(p.word, str(p.value)) for p in processes(of) if p.word in PLACES]
    words = tuple(dict.fromkeys(found))
    if len(words) > PLACE_WORDS_MAX:
        raise FilterError(
            f"The capture filter has {len(words)} conditions such as container; "
            f"{PLACE_WORDS_MAX} are possible: use a pattern, such as container web-*."
        )
    return words


def packet_only(of: Filter) -> Filter | None:
    """Return the strictest condition without processes that `of` implies; or None."""
    return _implied(of, negated=False)


def _implied(of: Filter, *, negated: bool) -> Filter | None:
    match of:
        case Packet() | Context():
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


def comm_words(comm: str) -> tuple[int, int]:
    """Return a name as the kernel holds it: 16 bytes, as two native 64-bit numbers."""
    padded = comm.encode()[:COMM_LEN].ljust(16, b"\0")
    first, second = padded[:8], padded[8:]
    return int.from_bytes(first, sys.byteorder), int.from_bytes(second, sys.byteorder)
