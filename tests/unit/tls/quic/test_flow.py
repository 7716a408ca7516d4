"""From a flow's datagrams to its client random, and which of them wait."""

import pytest

from support import quicpackets
from support.quicpackets import V1, V2, client_hello, crypto
from tccap.stream.abi import MessageKind
from tccap.tls import flows
from tccap.tls.flow import Seen
from tccap.tls.flows import Flows
from tccap.tls.quic import flow as quic
from tccap.tls.quic.keys import InitialKeys

FLOW, ORIGIN, OTHER = b"flow", b"origin78", b"another8"
RANDOM, RANDOM_2 = b"r" * 32, b"s" * 32
HELLO = client_hello(RANDOM)
HANDSHAKE = quicpackets.long_packet(2, b"handshake")
ZERO_RTT = quicpackets.long_packet(1, b"early data")
SHORT = b"\x41" + bytes(50)
CLOSE = b"\x1c\x41\x28\x00\x00"
WAIT, FIRST, ANSWER, KEYED, END = (
    *(MessageKind.HELD, MessageKind.HELD_SERVER_HELLO),
    *(MessageKind.HELD_ANSWER, MessageKind.HELD_KEYED, MessageKind.HELD_END),
)
NOTHING = Seen(None, is_new=False, kind=None)
NEW = Seen(RANDOM, is_new=True, kind=None)
KNOWN = Seen(RANDOM, is_new=False, kind=None)


def _client(
    payload: bytes = crypto(0, HELLO), origin: bytes = ORIGIN, version: int = V1
) -> bytes:
    return quicpackets.initial(payload, origin=origin, version=version, length=1200)


def _server(payload: bytes, origin: bytes = ORIGIN, version: int = V1) -> bytes:
    return quicpackets.initial(
        payload,
        origin=origin,
        destination=b"source",
        version=version,
        side=b"server in",
    )


class Conversation:
    """A flow between a client and a server."""

    def __init__(self) -> None:
        self.flows = Flows()

    def client(self, *packets: bytes) -> Seen:
        return self.flows.see(FLOW, b"".join(packets), from_client=True)

    def server(self, *packets: bytes) -> Seen:
        return self.flows.see(FLOW, b"".join(packets), from_client=False)


@pytest.fixture
def flow() -> Conversation:
    return Conversation()


@pytest.mark.parametrize("version", [V1, V2])
def test_a_usual_handshake(flow: Conversation, version: int) -> None:
    handshake = quicpackets.long_packet(2, b"handshake", version=version)
    assert flow.client(_client(version=version)) == NEW
    answer = _server(crypto(0, b"ServerHello"), version=version)
    assert flow.server(answer, handshake) == KNOWN._replace(kind=FIRST)
    assert flow.server(SHORT) == KNOWN._replace(kind=WAIT)
    ack = _client(b"\x02\0\0\0\0", version=version)
    assert flow.client(ack, handshake) == KNOWN._replace(kind=ANSWER)
    assert flow.client(handshake, bytes(40)) == KNOWN._replace(kind=ANSWER)
    assert flow.client(handshake, SHORT) == KNOWN._replace(kind=KEYED)
    assert flow.client(SHORT) == KNOWN._replace(kind=KEYED)
    assert flow.flows.take_over() == []


def test_a_hello_in_two_packets(flow: Conversation) -> None:
    """As large ones are sent; Chromium sends its pieces in any order."""
    long = client_hello(RANDOM, 1800)
    later = crypto(900, long[900:]) + crypto(20, long[20:60])
    assert flow.client(_client(later)) == NOTHING
    assert flow.server(_server(b"\x02\0\0\0\0")) == NOTHING
    assert flow.client(_client(crypto(60, long[60:900]) + crypto(0, long[:20]))) == NEW


def test_two_hellos_in_one_datagram(flow: Conversation) -> None:
    """As it looks before segmentation."""
    first, second = crypto(30, HELLO[30:]), crypto(0, HELLO[:30])
    assert flow.client(_client(first), _client(second)) == NEW


def test_a_retry_changes_the_keys(flow: Conversation) -> None:
    assert flow.client(_client()) == NEW
    assert flow.server(quicpackets.retry(OTHER)) == KNOWN
    assert flow.client(_client(origin=OTHER)) == KNOWN
    answer = _server(crypto(0, b"ServerHello"), origin=OTHER)
    assert flow.server(answer) == KNOWN._replace(kind=FIRST)


def test_version_negotiation(flow: Conversation) -> None:
    assert flow.client(_client()) == NEW
    assert flow.server(quicpackets.version_negotiation()) == KNOWN
    hello = crypto(0, client_hello(RANDOM_2))
    again = _client(hello, origin=OTHER, version=V2)
    assert flow.client(again) == Seen(RANDOM_2, is_new=True, kind=None)


def test_a_compatible_version(flow: Conversation) -> None:
    """The server answers in version 2, with keys of the same connection id."""
    assert flow.client(_client()) == NEW
    answer = _server(crypto(0, b"ServerHello"), version=V2)
    assert flow.server(answer) == KNOWN._replace(kind=FIRST)
    assert flow.client(_client(b"\x01", version=V2)) == KNOWN._replace(kind=WAIT)


def test_early_data_waits(flow: Conversation) -> None:
    waits = KNOWN._replace(kind=WAIT)
    assert flow.client(_client(), ZERO_RTT) == NEW._replace(kind=WAIT)
    assert flow.client(ZERO_RTT) == waits
    assert flow.server(HANDSHAKE) == KNOWN._replace(kind=FIRST)


def test_packets_stay_in_order_through_a_retry(flow: Conversation) -> None:
    flow.client(_client(), ZERO_RTT)
    assert flow.server(quicpackets.retry(OTHER)) == KNOWN._replace(kind=WAIT)
    assert flow.client(_client(origin=OTHER)) == KNOWN._replace(kind=WAIT)


def test_a_failed_handshake(flow: Conversation) -> None:
    flow.client(_client())
    flow.server(_server(crypto(0, b"ServerHello")))
    assert flow.client(_client(CLOSE)) == KNOWN._replace(kind=END)


def test_a_refused_hello_ends_it(flow: Conversation) -> None:
    assert flow.client(_client()) == NEW
    assert flow.server(_server(CLOSE)) == NOTHING
    assert flow.flows.take_over() == [FLOW]


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        SHORT,
        HANDSHAKE,
        # Of a connection that began earlier: its keys come from another id.
        quicpackets.initial(b"\x01", origin=ORIGIN, destination=OTHER, length=1200),
        _client()[:600],
    ],
)
def test_a_begin_that_was_missed(flow: Conversation, datagram: bytes) -> None:
    assert flow.client(datagram) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_an_answer_to_a_hello_of_which_a_part_is_missing(flow: Conversation) -> None:
    flow.client(_client(crypto(20, HELLO[20:])))
    assert flow.server(HANDSHAKE) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_a_flow_is_not_followed_for_ever(flow: Conversation) -> None:
    for _ in range(quic.DATAGRAMS_MAX):
        assert flow.client(_client()).client_random == RANDOM
    assert flow.flows.take_over() == []
    assert flow.client(_client()) == NOTHING
    assert flow.flows.take_over() == [FLOW]


def test_a_datagram_costs_the_keys_of_one_connection_id(
    flow: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many packets it has, each for another one."""
    made: list[bytes] = []

    class Counted(InitialKeys):
        def __init__(self, version: int, connection_id: bytes) -> None:
            made.append(connection_id)
            super().__init__(version, connection_id)

    monkeypatch.setattr(quic, "InitialKeys", Counted)
    others = [b"%08d" % number for number in range(1000)]
    packets = (
        quicpackets.initial(b"\x01", origin=OTHER, destination=each) for each in others
    )
    assert flow.client(*packets) == NOTHING
    assert made == [b"", others[0]]


def test_flows_without_a_whole_hello_are_limited() -> None:
    followed = Flows()
    part = _client(crypto(20, HELLO[20:]))
    followed.see(b"whole", _client(), from_client=True)
    for number in range(flows.INCOMPLETE_MAX):
        followed.see(b"%d" % number, part, from_client=True)
    assert followed.take_over() == []
    followed.see(b"one more", part, from_client=True)
    assert followed.take_over() == [b"0"]
    assert not followed.see(b"whole", _client(), from_client=True).is_new
    assert len(followed._flows) == len(followed._incomplete) + 1


def test_a_forgotten_flow_begins_anew(flow: Conversation) -> None:
    assert flow.client(_client()) == NEW
    flow.flows.forget(FLOW)
    assert flow.client(_client()) == NEW
    assert flow.flows.take_over() == []
