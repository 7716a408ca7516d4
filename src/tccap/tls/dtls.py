"""Following the beginning of a DTLS connection on the flow of its packets.

Its hellos are not encrypted, and as in TLS, all packets wait from the ServerHello on. A
datagram holds records (RFC 6347, section 4.1); those of epoch 0 can be read. Each piece
of a handshake message has a header of its own (section 4.2.2).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tccap.stream.abi import MessageKind
from tccap.tls.flow import RETRY, Seen
from tccap.tls.keylog import RANDOM_LEN

DATAGRAMS_MAX: Final = 64  # of a flow, until its packets wait
RECORDS_MAX: Final = 16  # of a datagram; others are not read
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_TYPES: Final = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
_MAJOR: Final = 0xFE
_RECORD_HEADER_LEN, _MESSAGE_HEADER_LEN, _VERSION_LEN = 13, 12, 2
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_FATAL: Final = 2


class _Record(NamedTuple):
    type: int
    epoch: int
    content: bytes


class _Hello(NamedTuple):
    """The begin of a ClientHello or ServerHello; ``random`` is of 32 bytes."""

    type: int
    random: bytes


def has_records(datagram: bytes) -> bool:
    """Return whether a datagram begins with a record of DTLS."""
    return len(datagram) > 1 and datagram[0] in _TYPES and datagram[1] == _MAJOR


class Flow:
    """What is known of one flow; implements `flow.Flow`."""

    def __init__(self) -> None:
        self.client_random: bytes | None = None
        self._datagrams = 0
        self._waits = False
        self._is_answered = False  # by the server
        self._has_failed = False

    @property
    def is_over(self) -> bool:
        """Whether nothing can be learned from it (any more)."""
        if self._waits:
            return False
        too_many = self._datagrams > DATAGRAMS_MAX
        return self.client_random is None or self._has_failed or too_many

    def see(self, datagram: bytes, *, from_client: bool) -> Seen:
        """Take a datagram."""
        self._datagrams += 1
        all_records = [*_records(datagram)]
        records = [record for record in all_records if record.epoch == 0]
        before = self.client_random
        hellos = [hello for record in records for hello in _hellos(record)]
        for hello in hellos:
            self._take(hello, from_client=from_client)
        self._has_failed |= any(map(_is_fatal, records))
        is_new = self.client_random != before
        greets = any(hello.type == _CLIENT_HELLO for hello in hellos)
        answer = MessageKind.HELD
        if from_client and all_records and not greets:
            is_encrypted = len(records) < len(all_records)
            answer = MessageKind.HELD_KEYED if is_encrypted else MessageKind.HELD_ANSWER
        return Seen(self.client_random, is_new, self._kind(answer))

    def _take(self, hello: _Hello, *, from_client: bool) -> None:
        if from_client and hello.type == _CLIENT_HELLO:
            if hello.random != self.client_random:  # a new connection of the same ports
                self._waits = self._is_answered = self._has_failed = False
            self.client_random = hello.random
        elif self.client_random and hello.type == _SERVER_HELLO and not from_client:
            self._waits |= not hello.random.startswith(RETRY)

    def _kind(self, answer: MessageKind) -> MessageKind | None:
        """Return how a datagram has to wait; ``answer`` if it is like any other."""
        if not self._waits:
            return None
        if self._has_failed:
            return MessageKind.HELD_END
        if not self._is_answered:
            self._is_answered = True
            return MessageKind.HELD_SERVER_HELLO
        return answer


def _records(datagram: bytes) -> Iterator[_Record]:
    """Yield the first records of a datagram."""
    at = 0
    for _ in range(RECORDS_MAX):
        header = datagram[at : at + _RECORD_HEADER_LEN]
        if len(header) < _RECORD_HEADER_LEN or not has_records(header):
            return
        at += _RECORD_HEADER_LEN
        length = int.from_bytes(header[-2:], "big")
        content = datagram[at : at + length]
        yield _Record(header[0], int.from_bytes(header[3:5], "big"), content)
        at += length


def _hellos(record: _Record) -> Iterator[_Hello]:
    """Yield the hello that a record begins with, if it is the begin of one."""
    message, body = (
        record.content[:_MESSAGE_HEADER_LEN],
        record.content[_MESSAGE_HEADER_LEN + _VERSION_LEN :],
    )
    is_hello = record.type == _HANDSHAKE and message[:1] in (b"\1", b"\2")
    is_begin = not any(message[6:9])
    if is_hello and is_begin and len(body) >= RANDOM_LEN:
        yield _Hello(message[0], body[:RANDOM_LEN])


def _is_fatal(record: _Record) -> bool:
    return record.type == _ALERT and record.content[:1] == bytes([_FATAL])
