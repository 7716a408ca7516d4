"""QUIC connections: secrets come before the packets that need them, in their order."""

import socket
from dataclasses import replace
from unittest import mock

import pytest

from support import quicpackets
from tccap.front import options, request
from tccap.stream import abi
from tccap.stream.abi import MessageKind
from tccap.tls import keylog
from tccap.tls.flows import Flows
from tccap.tls.keylog import Secret
from tccap.tls.marks import Marks
from tccap.tls.session import Tls

PLAN = replace(request.plan("tccap-lo", "", options.Options()), keylog=True)
RANDOM, ORIGIN = bytes(range(32)), b"origin78"
HELLO = quicpackets.initial(
    quicpackets.crypto(0, quicpackets.client_hello(RANDOM)), origin=ORIGIN, length=1200
)
HANDSHAKE = quicpackets.long_packet(2, b"handshake")
SHORT = b"\x41" + bytes(50)
SECRETS = [
    Secret(f"{side}_{label}", RANDOM, label.encode().ljust(32))
    for side in ("CLIENT", "SERVER")
    for label in ("HANDSHAKE_TRAFFIC_SECRET", "TRAFFIC_SECRET_0")
]


def _flow(number: int = 0) -> bytes:
    ends = bytes([number]) * 36
    family_and_protocol = (socket.AF_INET, socket.IPPROTO_UDP)
    return ends + b"".join(n.to_bytes(2, "little") for n in family_and_protocol)


def _block(datagram: bytes) -> bytes:
    return bytes(20) + len(datagram).to_bytes(4, "little") + bytes(4) + datagram


class Wire:
    """A session with a key log, and the flows that it has unmarked."""

    def __init__(self) -> None:
        self.marks = mock.Mock(spec=Marks)
        self.tls = Tls(PLAN, self.marks, Flows())

    def sent(
        self, datagram: bytes, *, from_client: bool = False, flow: int = 0
    ) -> list[bytes]:
        held = (_flow(flow), 0, 1, 2, abi.EPB_HEADER_LEN, 0, 0, from_client)
        text = abi._HELD_MESSAGE.pack(*held, MessageKind.QUIC)
        message = _block(datagram) + text
        return [bytes(block) for block in self.tls.answer(message)]

    def logged(self, *secrets: Secret) -> list[bytes]:
        lines = (
            f"{secret.label} {secret.client_random.hex()} {secret.secret.hex()}\n"
            for secret in secrets
        )
        out = self.tls.read_text("".join(lines).encode())
        return [bytes(block) for block in out]

    def unmarked(self) -> list[bytes]:
        return [call.args[0][:40] for call in self.marks.remove.call_args_list]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_secrets_come_first(wire: Wire) -> None:
    assert wire.sent(HELLO, from_client=True) == [_block(HELLO)]
    for datagram in (HANDSHAKE, SHORT):
        assert wire.sent(datagram) == []
    assert wire.sent(HANDSHAKE + b"\0", from_client=True) == []
    written = [keylog.block(secret) for secret in SECRETS]
    assert wire.logged(*SECRETS[:3]) == written[:3]
    assert wire.unmarked() == []
    waiting = [_block(each) for each in (HANDSHAKE, SHORT, HANDSHAKE + b"\0")]
    assert wire.logged(SECRETS[3]) == [written[3], *waiting]
    assert wire.unmarked() == [_flow()]
    assert wire.sent(SHORT) == [_block(SHORT)]


def test_early_secrets_come_with_the_hello(wire: Wire) -> None:
    assert wire.logged(*SECRETS) == []
    out = wire.sent(HELLO, from_client=True)
    assert out == [*(keylog.block(secret) for secret in SECRETS), _block(HELLO)]
    assert {*wire.unmarked()} == {_flow()}


def test_the_flows_of_one_connection_wait_together(wire: Wire) -> None:
    """It passes an address translation, and is captured before and behind it."""
    for flow in (0, 1):
        assert wire.sent(HELLO, from_client=True, flow=flow) == [_block(HELLO)]
    for flow in (0, 1):
        assert wire.sent(HANDSHAKE, flow=flow) == []
    assert wire.logged(*SECRETS)[-2:] == 2 * [_block(HANDSHAKE)]
    assert {*wire.unmarked()} == {_flow(0), _flow(1)}


def test_packets_of_a_removed_mark_pass(wire: Wire) -> None:
    """Those that follow may have another mark or none: none of them may wait."""
    wire.marks.has_quic.return_value = False
    for datagram in (HELLO, HANDSHAKE):
        assert wire.sent(datagram, from_client=True) == [_block(datagram)]
    assert wire.unmarked() == []


def test_the_capture_ends(wire: Wire) -> None:
    wire.sent(HELLO, from_client=True)
    wire.sent(HANDSHAKE)
    assert [bytes(block) for block in wire.tls.finish()] == [_block(HANDSHAKE)]


def test_what_is_no_begin_passes(wire: Wire) -> None:
    assert wire.sent(SHORT, from_client=True) == [_block(SHORT)]
    assert wire.unmarked() == [_flow()]
