"""From the datagrams of a DTLS flow to its client random, and which of them wait."""

import pytest

from support import dtlspackets
from support.dtlspackets import client_hello, record, server_hello
from tccap.stream.abi import MessageKind
from tccap.tls import dtls
from tccap.tls.flow import RETRY, Seen
from tccap.tls.flows import Flows

FLOW = b"flow"
RANDOM, RANDOM_2 = b"r" * 32, b"s" * 32
VERIFY = record(22, dtlspackets.message(3, b"\xfe\xff\x14" + b"c" * 20))
CERTIFICATE = record(22, dtlspackets.message(11, b"certificate"))
KEY_EXCHANGE = record(22, dtlspackets.message(16, b"keys"))
FINISHED = record(22, b"encrypted", epoch=1)
FATAL = record(21, b"\x02\x28")
NOTHING = Seen(None, is_new=False, kind=None)
NEW = Seen(RANDOM, is_new=True, kind=None)
KNOWN = Seen(RANDOM, is_new=False, kind=None)
WAIT, FIRST, ANSWER, KEYED, END = (
    KNOWN._replace(kind=kind)
    for kind in (
        *(MessageKind.HELD, MessageKind.HELD_SERVER_HELLO),
        *(MessageKind.HELD_ANSWER, MessageKind.HELD_KEYED, MessageKind.HELD_END),
    )
)


class Conversation:
    """A flow between a client and a server."""

    def __init__(self) -> None:
        self.flows = Flows()

    def client(self, *records: bytes) -> Seen:
        return self.flows.see(FLOW, b"".join(records), from_client=True)

    def server(self, *records: bytes) -> Seen:
        return self.flows.see(FLOW, b"".join(records), from_client=False)


@pytest.fixture
def flow() -> Conversation:
    return Conversation()


def test_a_usual_handshake(flow: Conversation) -> None:
    """With a cookie, in datagrams of several records."""
    assert flow.client(client_hello(RANDOM)) == NEW
    assert flow.server(VERIFY) == KNOWN
    assert flow.client(client_hello(RANDOM)) == KNOWN
    assert flow.server(server_hello(), CERTIFICATE) == FIRST
    assert flow.server(CERTIFICATE) == WAIT
    assert flow.client(client_hello(RANDOM)) == WAIT  # sent again
    assert flow.client(KEY_EXCHANGE) == ANSWER
    assert flow.client(record(20, b"\1"), FINISHED) == KEYED
    assert flow.server(record(20, b"\1"), FINISHED) == WAIT
    assert flow.flows.take_over() == []


def test_other_packets_of_the_flow_wait_too(flow: Conversation) -> None:
    """STUN and media of WebRTC use the same ports (RFC 7983)."""
    flow.client(client_hello(RANDOM))
    assert flow.server(b"\x00\x01stun") == KNOWN
    flow.server(server_hello())
    assert flow.client(b"\x80media") == WAIT


def test_a_retry_is_no_answer(flow: Conversation) -> None:
    flow.client(client_hello(RANDOM))
    assert flow.server(server_hello(RETRY.ljust(32))) == KNOWN
    assert flow.client(client_hello(RANDOM)) == KNOWN
    assert flow.server(server_hello()) == FIRST


def test_a_hello_in_pieces(flow: Conversation) -> None:
    whole = dtlspackets.message(1, b"\xfe\xfd" + RANDOM + b"\0" * 100)
    begin, rest = dtlspackets.pieces(whole, 60)
    assert flow.client(record(22, begin)) == NEW
    assert flow.client(record(22, rest)) == KNOWN


def test_a_new_connection_of_the_same_ports(flow: Conversation) -> None:
    flow.client(client_hello(RANDOM))
    flow.server(server_hello())
    again = flow.client(client_hello(RANDOM_2))
    assert again == Seen(RANDOM_2, is_new=True, kind=None)
    flow.server(VERIFY)
    assert flow.server(server_hello()).kind == MessageKind.HELD_SERVER_HELLO


def test_a_failed_handshake(flow: Conversation) -> None:
    flow.client(client_hello(RANDOM))
    flow.server(server_hello())
    assert flow.client(FATAL) == END


def test_a_refused_hello_ends_it(flow: Conversation) -> None:
    assert flow.client(client_hello(RANDOM)) == NEW
    assert flow.server(FATAL) == NOTHING
    assert flow.flows.take_over() == [FLOW]


@pytest.mark.parametrize(
    "datagram", [server_hello(), FINISHED, client_hello(RANDOM)[:40], CERTIFICATE]
)
def test_a_begin_that_was_missed(flow: Conversation, datagram: bytes) -> None:
    assert flow.client(datagram) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_an_answer_to_nothing(flow: Conversation) -> None:
    assert flow.server(server_hello()) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_a_hello_of_another_epoch_is_not_read(flow: Conversation) -> None:
    hello = dtlspackets.message(1, b"\xfe\xfd" + RANDOM)
    assert flow.client(record(22, hello, epoch=1)) == NOTHING


def test_a_flow_is_not_followed_for_ever(flow: Conversation) -> None:
    for _ in range(dtls.DATAGRAMS_MAX):
        assert flow.client(client_hello(RANDOM)).client_random == RANDOM
    assert flow.flows.take_over() == []
    assert flow.client(client_hello(RANDOM)) == NOTHING
    assert flow.flows.take_over() == [FLOW]
