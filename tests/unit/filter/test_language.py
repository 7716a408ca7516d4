from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import expressions
from tccap.filter.cbpf import FilterError
from tccap.filter.language import (
    All,
    Any,
    Context,
    Filter,
    Not,
    Packet,
    Process,
    comm_words,
    packet_only,
    packets,
    parse,
    place_words,
)

PID, UID, CURL = Process("pid", 1), Process("uid", 0), Process("comm", "curl")


@pytest.mark.parametrize("text", expressions.ALL)
def test_packet_text_is_left_alone(text: str) -> None:
    assert parse(text) == Packet(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        " tcp  port 80 ",
        "host comm",
        "host a or comm",
        "host a or comm and port 80",
        "src pid or uid",
        "(host a or pid)",
        "ether host comm",
        "port pid",
        "not host uid",
        "tcp[0] = 1 && host pid",
        "garbage ( here",
        "port 80 and tcp[0]=1",
        "host pid=1",
    ],
)
def test_names_that_look_like_process_words_stay_libpcaps(text: str) -> None:
    assert parse(text) == Packet(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pid 1", PID),
        ("pid 0000000000000001", PID),
        pytest.param("uid " + "0" * 5000, UID, id="5000 zeros"),
        ("pid 4294967295", Process("pid", 4294967295)),
        ("  uid 0  ", UID),
        ("comm curl", CURL),
        ('comm "Web Content"', Process("comm", "Web Content")),
        ("comm 'a b'", Process("comm", "a b")),
        ("comm a-name-that-is-too-long", Process("comm", "a-name-that-is-")),
        ("comm äääääääää", Process("comm", "äääääää")),
        ("comm =curl", CURL),
        ("comm=curl", CURL),
        ("comm == curl", CURL),
        ('comm == "curl"', CURL),
        ("comm=='curl'", CURL),
        ('comm "=="', Process("comm", "==")),
        ("comm a=b", Process("comm", "a=b")),
        ("pid == 1", PID),
        ("pid==1", PID),
        ("pid = 1", PID),
        ("pid == 1 or 2", Any((PID, Process("pid", 2)))),
        ("not pid==1&&tcp", All((Packet("tcp"), Not(PID)))),
        ("uid root", UID),
        ("uid == root", UID),
        ('uid "root"', UID),
        ("not uid 0", Not(UID)),
        ("! uid 0", Not(UID)),
        ("not not uid 0", UID),
        ("(pid 1)", PID),
        ("pid 1 and tcp port 443", All((Packet("tcp port 443"), PID))),
        ("tcp port 443 && pid 1", All((Packet("tcp port 443"), PID))),
        ("pid 1 or tcp", Any((Packet("tcp"), PID))),
        ("pid 1&&tcp", All((Packet("tcp"), PID))),
        ("pid 1 or 2", Any((PID, Process("pid", 2)))),
        (
            "comm curl and (port 80 or 443)",
            All((Packet("(port 80 or 443)"), CURL)),
        ),
        (
            "port 80 or pid 1 or 443",
            Any((Packet("port 80"), PID, Process("pid", 443))),
        ),
        ("vlan and pid 1 and ip", All((Packet("vlan and ip"), PID))),
        ("not tcp and pid 1", All((Packet("not tcp"), PID))),
        # libpcap decides whether "()" is a condition.
        ("pid 1 and ()", All((Packet("()"), PID))),
        ("not (tcp or pid 1)", Not(Any((Packet("tcp"), PID)))),
        (
            "(pid 1 or uid 0) and not (tcp[0] = 1)",
            All((Packet("not (tcp[0] = 1)"), Any((PID, UID)))),
        ),
    ],
)
def test_process_words(text: str, expected: Filter) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("pid x", '"pid" takes a number'),
        ("uid -1", '"uid" takes a number'),
        ("uid no-such-user", 'there is no user "no-such-user"'),
        ("uid \ud800", "there is no user"),
        ("pid 99999999999", '"pid" takes a number'),
        ("pid 4294967296", '"pid" takes a number'),
        ("pid 0000000000099999999999", '"pid" takes a number'),
        pytest.param("uid " + "9" * 5000, '"uid" takes a number', id="5000 digits"),
        ("pid ٣", '"pid" takes a number'),
        ("pid 1 and tcp or udp", "mixes"),
        ("pid 1 or port 80 and 443", "mixes"),
        ("pid 1 and", "lacks a condition at its end"),
        ("and pid 1", 'lacks a condition before "and"'),
        ("(pid 1 or ) and tcp", 'lacks a condition before ")"'),
        ("comm ==", 'lacks a value after "comm"'),
        ("pid == and tcp", 'lacks a value after "pid"'),
        ("pid == = 1", 'lacks a value after "pid"'),
        ('comm "x', "opening quote without a closing one"),
        ("comm 'x and tcp", "opening quote without a closing one"),
        ("comm Web Content", 'before "Content"; quote a name with spaces'),
        ("pid 1 2", 'needs "and" or "or" before "2".'),
        ("(pid 1 tcp)", 'needs "and" or "or" before "tcp".'),
        ("pid 1 (tcp)", 'needs "and" or "or" before "(".'),
        ("(pid 1", 'without a ")"'),
        ("pid 1)", 'without a "("'),
        ("tcp port 80 pid 1", 'needs "and" or "or"'),
        ("(" * 200 + "pid 1" + ")" * 200, "too deeply"),
    ],
)
def test_a_mistake_gets_a_sentence(text: str, part: str) -> None:
    with pytest.raises(FilterError, match=r"^(The|In the) capture filter") as caught:
        parse(text)
    assert part in str(caught.value)
    assert str(caught.value).endswith(".")


def evaluate(
    of: Filter,
    packet: Callable[[Packet], bool],
    process: Callable[[Process | Context], bool],
) -> bool:
    """Compute the filter's verdict from the verdicts of its conditions."""
    match of:
        case Packet():
            return packet(of)
        case Process() | Context():
            return process(of)
        case Not(inner):
            return not evaluate(inner, packet, process)
        case All(terms):
            return all(evaluate(term, packet, process) for term in terms)
        case Any(terms):
            return any(evaluate(term, packet, process) for term in terms)


LEAVES: list[Filter] = [Packet("a"), Packet("b"), PID, UID]
leaf: st.SearchStrategy[Filter] = st.sampled_from(LEAVES)
filters: st.SearchStrategy[Filter] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=3).map(lambda t: All(tuple(t))),
        st.lists(inner, min_size=1, max_size=3).map(lambda t: Any(tuple(t))),
    ),
)
truths = st.fixed_dictionaries({condition: st.booleans() for condition in LEAVES})


def no_process(condition: Process | Context) -> bool:
    raise AssertionError(condition)


@given(filters, truths)
def test_the_packet_condition_is_necessary(
    of: Filter, truth: dict[Filter, bool]
) -> None:
    implied = packet_only(of)
    holds = implied is None or evaluate(implied, truth.__getitem__, no_process)
    assert holds or not evaluate(of, truth.__getitem__, truth.__getitem__)


@given(st.text(alphabet="()! pidcomuandrt1\"'&|[]"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(FilterError):
        assert all(isinstance(packet, Packet) for packet in packets(parse(text)))


def test_the_strictest_condition() -> None:
    assert packet_only(parse("pid 1 and tcp")) == All((Packet("tcp"),))
    assert packet_only(parse("pid 1 or tcp")) is None
    assert packet_only(parse("not (pid 1 or tcp)")) == All((Not(Packet("tcp")),))
    assert packet_only(parse("tcp")) == Packet("tcp")


def test_a_name_as_the_kernel_holds_it() -> None:
    assert comm_words("ab") == (0x6261, 0)
    assert comm_words("abcdefghi") == (0x6867666564636261, 0x69)


INBOUND = Context("inbound", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inbound", INBOUND),
        ("outbound", Context("outbound", 0)),
        ("ifindex 7", Context("ifindex", 7)),
        ("ifindex=7", Context("ifindex", 7)),
        ("not inbound", Not(INBOUND)),
        ("inbound and tcp", All((Packet("tcp"), INBOUND))),
        ("host inbound", Packet("host inbound")),
        ("host ifindex", Packet("host ifindex")),
    ],
)
def test_words_about_the_way_of_a_frame(text: str, expected: Filter) -> None:
    assert parse(text) == expected


def test_the_way_of_a_frame_is_known_before_its_processes() -> None:
    found = parse("inbound and pid 1 and ifindex 2")
    assert packet_only(found) == All((INBOUND, Context("ifindex", 2)))


def test_an_index_is_a_number() -> None:
    with pytest.raises(FilterError, match='"ifindex" takes a number'):
        parse("ifindex lo")


@pytest.mark.parametrize("word", ["container", "pod", "namespace", "unit"])
def test_a_place_is_named_by_a_pattern(word: str) -> None:
    expected = Process(word, "web-*")
    for text in (f"{word} web-*", f"{word}=web-*", f'{word} == "web-*"'):
        assert parse(text) == expected
    assert parse(f"host {word}") == Packet(f"host {word}")
    with pytest.raises(FilterError, match="lacks a value"):
        parse(f"{word} ==")
    with pytest.raises(FilterError, match="takes a name of 1 to 255 bytes"):
        parse(f"{word} {'x' * 256}")


def test_places_are_counted_once_each() -> None:
    found = parse("container a or not (unit b and tcp) or container a")
    assert place_words(found) == (("container", "a"), ("unit", "b"))
    many = " or ".join(f"container c{n}" for n in range(65))
    with pytest.raises(FilterError, match="64 are possible"):
        place_words(parse(many))
