"""Following the beginning of a QUIC connection on the flow of its packets.

Theory of operation. Initial packets have keys that everybody can make, so they are
opened until the client random is known. Packets wait from the first one on that needs
secrets: 0-RTT data, or the server's part of the handshake.

A client's Initial packets have the keys of the connection id that its first one is sent
to. A Retry, or another version, changes the keys: then a packet has those of its own
destination. A packet that has neither is of a connection whose begin was missed.

Packets are not trusted: `DATAGRAMS_MAX` bounds the work until packets wait.
"""

from typing import Final

from tccap.stream.abi import MessageKind
from tccap.tls.flow import Seen
from tccap.tls.quic import frames
from tccap.tls.quic.frames import Frames, HelloStart
from tccap.tls.quic.keys import InitialKeys
from tccap.tls.quic.packets import Kind, Packet, long_packets

DATAGRAMS_MAX: Final = 64  # of a flow, until its packets wait
# The first two bits of a packet (RFC 9000, section 17.3).
_FORM_AND_FIXED: Final = 0xC0
_SHORT: Final = 0x40


class Flow:
    """What is known of one flow; implements `flow.Flow`."""

    def __init__(self) -> None:
        self.client_random: bytes | None = None
        self.is_opened = False  # one of its packets was
        self.has_failed = False
        self._origin = b""  # the connection id that the keys come from
        self._keys: dict[int, InitialKeys] = {}  # by version
        self._start = HelloStart()
        self._datagrams = 0
        self._waits = False
        self._is_answered = False  # by the server

    @property
    def is_over(self) -> bool:
        """Whether nothing can be learned from it (any more)."""
        if self._waits:
            return self.client_random is None
        too_many = self._datagrams > DATAGRAMS_MAX
        return not self.is_opened or self.has_failed or too_many

    def see(self, datagram: bytes, *, from_client: bool) -> Seen:
        """Take a datagram."""
        packets = [*long_packets(datagram)]
        self._datagrams += 1
        if from_client:
            self._choose_keys(packets[:1])
        read = [self._read(each, from_client=from_client) for each in packets]
        self.has_failed |= any(each.closes for each in read)
        before = self.client_random
        self.client_random = self._start.client_random or before
        has_crypto = any(each.crypto for each in read)
        kinds = {packet.kind for packet in packets}
        behind = datagram[sum(len(packet.content) for packet in packets) :]
        answer = _answer(kinds, behind) if from_client else MessageKind.HELD
        answers_client = not from_client and (has_crypto or Kind.HANDSHAKE in kinds)
        self._waits |= answers_client or Kind.ZERO_RTT in kinds
        kind = self._kind(answer, answers_client=answers_client)
        return Seen(self.client_random, self.client_random != before, kind)

    def _kind(self, answer: MessageKind, *, answers_client: bool) -> MessageKind | None:
        """Return how a datagram has to wait; ``answer`` if it is like any other."""
        if not self._waits:
            return None
        if self.has_failed:
            return MessageKind.HELD_END
        if answers_client and not self._is_answered:
            self._is_answered = True
            return MessageKind.HELD_SERVER_HELLO
        return answer

    def _read(self, packet: Packet, *, from_client: bool) -> Frames:
        """Read a packet; those that are not Initial say nothing."""
        payload = None
        if packet.kind == Kind.INITIAL:
            open_it = self._open_client if from_client else self._open_server
            payload = open_it(packet)
        if payload is None:
            return frames.NONE
        read = frames.read(payload)
        for offset, piece in read.crypto if from_client else ():
            self._start.add(offset, piece)
        return read

    def _choose_keys(self, first: list[Packet]) -> None:
        """Use other keys if the first packet of a client's datagram has them.

        All packets of a datagram are for one connection id (RFC 9000, section 12.2).
        Making keys takes longer than anything else here.
        """
        for packet in first:
            if packet.kind != Kind.INITIAL or packet.destination == self._origin:
                return
            if self._open_client(packet) is not None:
                return
            keys = InitialKeys(packet.version, packet.destination)
            if keys.client.open(packet.content, packet.number_at) is not None:
                self._origin, self._keys = packet.destination, {packet.version: keys}
                self._start = HelloStart()

    def _open_client(self, packet: Packet) -> bytes | None:
        payload = self._keys_of(packet).client.open(packet.content, packet.number_at)
        self.is_opened |= payload is not None
        return payload

    def _open_server(self, packet: Packet) -> bytes | None:
        return self._keys_of(packet).server.open(packet.content, packet.number_at)

    def _keys_of(self, packet: Packet) -> InitialKeys:
        keys = self._keys.get(packet.version)
        if not keys:
            keys = InitialKeys(packet.version, self._origin)
            self._keys[packet.version] = keys
        return keys


def _answer(kinds: set[Kind], behind: bytes) -> MessageKind:
    """Return the kind of a client's datagram behind the server's answer.

    ``behind`` is what follows its packets with long headers: one with a short header
    shows that the handshake has not failed (RFC 9001, section 4.1.4).
    """
    if behind and behind[0] & _FORM_AND_FIXED == _SHORT:
        return MessageKind.HELD_KEYED
    return MessageKind.HELD_ANSWER if Kind.HANDSHAKE in kinds else MessageKind.HELD
