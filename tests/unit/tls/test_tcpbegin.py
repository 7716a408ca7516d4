"""From the first segments of a TCP flow to its client random, and which wait."""

import itertools
import socket
import struct

import pytest

from tccap.stream.abi import MessageKind
from tccap.tls import tcpbegin
from tccap.tls.flow import RETRY, Seen
from tccap.tls.flows import Flows

FLOW = struct.pack("=36sHHQ", b"", socket.AF_INET, socket.IPPROTO_TCP, 1)
RANDOM, RANDOM_2 = b"r" * 32, b"s" * 32
V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)
NOTHING = Seen(None, is_new=False, kind=None)
NEW = Seen(RANDOM, is_new=True, kind=None)
KNOWN = Seen(RANDOM, is_new=False, kind=None)
WAIT, FIRST, ANSWER, KEYED = (
    KNOWN._replace(kind=kind)
    for kind in (
        *(MessageKind.HELD, MessageKind.HELD_SERVER_HELLO),
        *(MessageKind.HELD_ANSWER, MessageKind.HELD_KEYED),
    )
)


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes([kind]) + b"\3\1" + len(content).to_bytes(2, "big") + content


def hello(random: bytes = RANDOM, kind: int = 1) -> bytes:
    body = b"\3\3" + random + bytes(100)
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


class Conversation:
    """A flow between a client and a server."""

    def __init__(self) -> None:
        self.flows = Flows()

    def client(self, data: bytes) -> Seen:
        return self.flows.see(FLOW, data, from_client=True)

    def server(self, data: bytes) -> Seen:
        return self.flows.see(FLOW, data, from_client=False)


@pytest.fixture
def flow() -> Conversation:
    return Conversation()


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_hello_behind_a_proxy_header(flow: Conversation, header: bytes) -> None:
    assert flow.client(header + record(hello())) == NEW
    assert flow.server(b"") == KNOWN  # an acknowledgement
    assert flow.server(record(hello(b"t" * 32, kind=2)) + b"more") == FIRST
    assert flow.client(b"") == WAIT
    assert flow.client(record(b"\1", kind=20)) == ANSWER
    assert flow.server(record(b"data", kind=23)) == WAIT
    assert flow.flows.take_over() == []


CHANGE = record(b"\1", kind=20)


@pytest.mark.parametrize(
    "segment",
    [
        *(record(b"\x10key exchange"), CHANGE + record(bytes(40))),
        *(record(bytes(53), kind=23), CHANGE + record(bytes(69), kind=23)),
    ],
)
def test_what_only_a_client_with_keys_sends(flow: Conversation, segment: bytes) -> None:
    flow.client(V1 + record(hello()))
    flow.server(record(hello(kind=2)))
    assert flow.client(segment) == KEYED


@pytest.mark.parametrize(
    "segment",
    [
        *(record(b"\2\x30", kind=21), CHANGE + record(b"\2\x30", kind=21)),
        *(record(bytes(19), kind=23), CHANGE + record(bytes(19), kind=23)),
        *(CHANGE, CHANGE + b"\x17\3\3"),
    ],
)
def test_an_alert_is_an_answer(flow: Conversation, segment: bytes) -> None:
    flow.client(V1 + record(hello()))
    flow.server(record(hello(kind=2)))
    assert flow.client(segment) == ANSWER


@pytest.mark.parametrize("header", [b"", V1, V2], ids=["none", "v1", "v2"])
@pytest.mark.parametrize("length", [3, 5, 42])
def test_small_segments(flow: Conversation, header: bytes, length: int) -> None:
    whole = record(hello())
    ends = [0, *range(length, len(whole), length), len(whole)]
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(ends)]
    found = [flow.client(piece) for piece in (header + pieces[0], *pieces[1:])]
    assert NEW in found
    assert found[-1] == KNOWN


def test_a_hello_in_several_records(flow: Conversation) -> None:
    whole = hello()
    pieces = (whole[:1], whole[1:20], whole[20:40], whole[40:])
    assert flow.client(b"".join(map(record, pieces))) == NEW


def test_a_retry_is_no_answer(flow: Conversation) -> None:
    flow.client(V1 + record(hello()))
    assert flow.server(record(hello(RETRY.ljust(32), kind=2))) == KNOWN
    assert flow.server(record(hello(b"t" * 32, kind=2))) == FIRST


def test_a_new_connection_of_the_same_ports(flow: Conversation) -> None:
    flow.client(V1 + record(hello()))
    again = flow.client(V1 + record(hello(RANDOM_2)))
    assert again == Seen(RANDOM_2, is_new=True, kind=None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\0\0\x10",
        record(hello(kind=2)),
        record(b""),
        V1 + b"GET / HTTP/1.1\r\n\r\n",
        V2 + record(b"\2"),
        b"\x16\x03\x03\0\x20\x17",
    ],
)
def test_what_is_no_client_hello_ends_it(flow: Conversation, data: bytes) -> None:
    seen = flow.client(data)
    if data:
        assert seen == NOTHING
        assert flow.flows.take_over() == [FLOW]


def test_an_endless_header_ends_it(flow: Conversation) -> None:
    part = b"PROXY TCP4 " + b" " * 60
    assert flow.client(part) == NOTHING
    assert flow.flows.take_over() == []
    assert flow.client(b" " * 60) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_a_flow_is_not_followed_for_ever(flow: Conversation) -> None:
    flow.client(V1 + record(hello()))
    for _ in range(tcpbegin.SEGMENTS_MAX - 1):
        assert flow.server(b"") == KNOWN
    assert flow.server(b"") == NOTHING
    assert flow.flows.take_over() == [FLOW]
