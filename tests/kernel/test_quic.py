"""QUIC packets wait for secrets, and nothing else does."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support import netns, quicpackets, running
from support.netns import Pair
from support.quicpackets import V1, V2
from tccap.tls import keylog
from tccap.tls.keylog import Secret

# What the kernel does is the same everywhere: it compares bytes.
pytestmark = pytest.mark.same_everywhere

LABELS = (
    f"{side}_{secret}"
    for side in ("CLIENT", "SERVER")
    for secret in ("HANDSHAKE_TRAFFIC_SECRET", "TRAFFIC_SECRET_0")
)
SECRETS = [(label, label.encode().ljust(32)[:32]) for label in LABELS]


class Talk:
    """A UDP flow of its own."""

    def __init__(self, pair: Pair, stack: ExitStack) -> None:
        with pair.far.entered():
            self._server = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            self._server.bind((pair.far_address, 0))
        with pair.near.entered():
            self._client = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            self._client.bind((pair.near_address, 0))
        self._client.connect(self._server.getsockname())
        self._server.connect(self._client.getsockname())
        for sock in (self._client, self._server):
            sock.settimeout(running.DEADLINE_S)
        self.sent: list[bytes] = []

    def client(self, datagram: bytes) -> None:
        """Send to the server; return when it has got that."""
        self._client.send(datagram)
        assert self._server.recv(65536) == datagram
        self.sent.append(datagram)

    def server(self, datagram: bytes) -> None:
        """Send to the client; return when it has got that."""
        self._server.send(datagram)
        assert self._client.recv(65536) == datagram
        self.sent.append(datagram)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with netns.pair() as made:
        yield made


def _handshake(talk: Talk, version: int, number: int) -> bytes:
    """Send all up to the client's answer; return the client random."""
    client_random = bytes([number + 1]) * 32
    hello = quicpackets.client_hello(client_random, 1400)
    for begin, end in ((700, 1400), (0, 700)):
        piece = quicpackets.crypto(begin, hello[begin:end])
        origin = b"origin%02d" % number
        talk.client(
            quicpackets.initial(piece, origin=origin, version=version, length=1200)
        )
    name = b"handshake %d" % number
    talk.server(quicpackets.long_packet(2, name, version=version))
    talk.server(b"\x41short" + name)
    talk.client(quicpackets.long_packet(2, b"answer to " + name, version=version))
    return client_random


def test_packets_wait_for_secrets(pair: Pair) -> None:
    """In both versions; then other datagrams of the same flows do not."""
    with ExitStack() as stack:
        talks = [Talk(pair, stack) for _ in (V1, V2, 0)]
        engine = stack.enter_context(
            running.engine(pair.near, "veth0", keylog=True, tls_wait_ms=10000)
        )
        *quic, other = talks
        randoms = [
            _handshake(talk, version, number)
            for number, (talk, version) in enumerate(zip(quic, (V1, V2), strict=True))
        ]
        other.client(b"\xc3\x00\x00\x00\x01 looks like QUIC")
        other.client(b"the marker")
        assert engine.output
        engine.output.wait_for(b"the marker")
        assert b"handshake" not in engine.output.so_far()
        _log(engine, randoms)
        engine.output.wait_for(b"answer to handshake 1")
        for number, talk in enumerate(quic):
            talk.server(b"\x41later %d" % number)
        other.client(b"the end")
        found = engine.stop_after(b"the end")
    payloads = [frame.data[14 + 20 + 8 :] for frame in found.frames]
    for talk in talks:
        assert [p for p in payloads if p in talk.sent] == talk.sent
    assert sum(count.dropped for count in found.counts.values()) == 0
    whole = engine.output.rest()
    for number, random in enumerate(randoms):
        block = keylog.block(Secret(*_secret(random)[-1]))
        assert whole.index(block) < whole.index(b"handshake %d" % number)


def _secret(random: bytes) -> list[tuple[str, bytes, bytes]]:
    return [(label, random, secret) for label, secret in SECRETS]


def _log(engine: running.Engine, randoms: list[bytes]) -> None:
    """Write the lines of a key log, as the front does."""
    assert engine.process.stdin
    for random in randoms:
        for label, _, secret in _secret(random):
            line = f"{label} {random.hex()} {secret.hex()}\n"
            engine.process.stdin.write(line.encode())
    engine.process.stdin.flush()
