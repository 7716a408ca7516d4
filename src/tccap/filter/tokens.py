"""The tokens of a capture filter, and which of them are tccap's own words."""

import re
from typing import Final, NamedTuple

JOINS: Final = ("and", "&&", "or", "||")
NOT: Final = ("not", "!")
EQUALS: Final = ("=", "==")
QUOTES: Final = ('"', "'")
PLACES: Final = ("container", "pod", "namespace", "unit")
_PROCESS: Final = ("pid", "uid", "comm", *PLACES)
# libpcap knows these, but only for its own live captures.
DIRECTIONS: Final = ("inbound", "outbound")
IFINDEX: Final = "ifindex"
# If one of these follows "comm", for instance, it is a name in libpcap's language.
NO_VALUE: Final = frozenset([*JOINS, *NOT, "(", ")", "[", "]"])
# libpcap expects a name after these, which may be "pid".
_TAKES_NAME: Final = frozenset(
    re.findall(
        r"\S+",
        "host net port portrange proto protochain src dst gateway mask ether fddi tr "
        "wlan ip ip6 arp rarp decnet sctp tcp udp iso link ifname on rset ruleset "
        "ra ta addr1 addr2 addr3 addr4",
    )
)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign>&&|\|\||==?|[()!\[\]])"""
    r"""|(?P<process>(?:pid|uid|comm|container|pod|namespace|unit|ifindex)(?==))"""
    r"""|(?P<word>(?:(?!&&|\|\|)[^\s()!\[\]"'])+)|(?P<open_quote>["']))"""
)


class Token(NamedTuple):
    """A token, and where it stands in the text (indices of characters)."""

    text: str
    start: int
    end: int


def split(text: str) -> list[Token]:
    """Return the tokens of a text; a quote that is not closed is a token by itself."""
    return [
        Token(match[match.lastgroup], match.start(match.lastgroup), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup
    ]


def starts_own(tokens: list[Token], at: int) -> bool:
    """Return whether a condition in tccap's words begins with the token at `at`."""
    if at > 0 and tokens[at - 1].text in _TAKES_NAME:
        return False
    if tokens[at].text in DIRECTIONS:
        return True
    if tokens[at].text not in (*_PROCESS, IFINDEX) or at + 1 == len(tokens):
        return False
    return tokens[at + 1].text not in NO_VALUE
