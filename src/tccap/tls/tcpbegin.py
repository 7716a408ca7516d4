"""Following the beginning of a TLS connection whose ClientHello the kernel cannot read.

A PROXY header may be in the same segment before it (HAProxy's proxy-protocol.txt). It
may also come in small segments, or in records that each hold a small part of it (RFC
8446, section 5.1). Segments are taken as they come: one that is sent again, or out of
order, only costs the client random.
"""

from typing import Final, NamedTuple

from tccap.stream.abi import MessageKind
from tccap.tls.flow import RETRY, Seen
from tccap.tls.keylog import RANDOM_LEN

SEGMENTS_MAX: Final = 64  # of a flow, until its packets wait
STREAM_MAX: Final = 8192  # bytes of a client, until its random is known
_V1, _V1_END, _V1_MAX = b"PROXY ", b"\r\n", 107
_V2, _V2_HEADER_LEN = b"\r\n\r\n\0\r\nQUIT\n", 16
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = (
    *(b"\x14", b"\x15"),
    *(b"\x16", b"\x17"),
)
_RECORDS: Final = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
# As in flow.h.
_CHANGE_CIPHER_SPEC_LEN, _FINISHED_LEN = 6, 4 + 32 + 1 + 16
_START: Final = b"\x16\x03"  # of a record with a handshake message
_CLIENT_HELLO, _SERVER_HELLO = b"\1", b"\2"
_RECORD_HEADER_LEN, _RANDOM_AT = 5, 6  # in a record, and in a hello


class _Begin(NamedTuple):
    """What the first bytes of a client say."""

    client_random: bytes | None  # None: not known (yet)
    may_be_hello: bool  # as far as they go


_NOT_YET: Final = _Begin(None, may_be_hello=True)
_OTHER: Final = _Begin(None, may_be_hello=False)


class Flow:
    """What is known of one flow; implements `flow.Flow`."""

    def __init__(self) -> None:
        self.client_random: bytes | None = None
        self._stream = b""  # of the client, until its random is known
        self._segments = 0
        self._may_be_hello = True
        self._waits = False
        self._is_answered = False  # by the server

    @property
    def is_over(self) -> bool:
        """Whether nothing can be learned from it (any more)."""
        if self._waits:
            return False
        too_long = self._segments > SEGMENTS_MAX or len(self._stream) > STREAM_MAX
        return not self._may_be_hello or too_long

    def see(self, datagram: bytes, *, from_client: bool) -> Seen:
        """Take a segment's data."""
        self._segments += 1
        before = self.client_random
        if from_client:
            self._take(datagram)
        elif before and _is_server_hello(datagram):
            self._waits = True
        is_new = self.client_random != before
        answer = _answer(datagram) if from_client else MessageKind.HELD
        return Seen(self.client_random, is_new, self._kind(answer))

    def _take(self, data: bytes) -> None:
        if not self._waits and data.startswith((_V1, _V2)):  # these ports' next one
            self._stream, self.client_random = b"", None
        if self.client_random is None:
            self._stream += data
            self.client_random, self._may_be_hello = _begin(self._stream)

    def _kind(self, answer: MessageKind) -> MessageKind | None:
        """Return how a segment has to wait; ``answer`` if it is like any other."""
        if not self._waits:
            return None
        if not self._is_answered:
            self._is_answered = True
            return MessageKind.HELD_SERVER_HELLO
        return answer


def _answer(segment: bytes) -> MessageKind:
    """Return the kind of a client's segment behind a ServerHello, as `marks.h` does."""
    if segment[:1] not in _RECORDS:
        return MessageKind.HELD
    is_change = segment[:1] == _CHANGE_CIPHER_SPEC
    behind = segment[_CHANGE_CIPHER_SPEC_LEN:] if is_change else b""
    shows_keys = _shows_keys(segment) or _shows_keys(behind)
    return MessageKind.HELD_KEYED if shows_keys else MessageKind.HELD_ANSWER


def _shows_keys(record: bytes) -> bool:
    length = int.from_bytes(record[3:_RECORD_HEADER_LEN], "big")
    is_finished = record[:1] == _APPLICATION_DATA and length >= _FINISHED_LEN
    return record[:1] == _HANDSHAKE or is_finished


def _begin(stream: bytes) -> _Begin:
    """Read the first bytes of a client."""
    at = _header_len(stream)
    if at is None:
        return _NOT_YET
    hello = b""
    while len(hello) < _RANDOM_AT + RANDOM_LEN:
        header = stream[at : at + _RECORD_HEADER_LEN]
        if not _START.startswith(header[: len(_START)]):
            return _OTHER
        if len(header) < _RECORD_HEADER_LEN:
            return _NOT_YET
        at += _RECORD_HEADER_LEN
        length = int.from_bytes(header[-2:], "big")
        piece = stream[at : at + length]
        hello += piece
        at += length
        if length == 0 or not _CLIENT_HELLO.startswith(hello[:1]):
            return _OTHER
        if len(piece) < length and len(hello) < _RANDOM_AT + RANDOM_LEN:
            return _NOT_YET
    return _Begin(hello[_RANDOM_AT : _RANDOM_AT + RANDOM_LEN], may_be_hello=True)


def _header_len(stream: bytes) -> int | None:
    """Return the length of the PROXY header; 0: there is none; None: not known yet."""
    if stream.startswith(_V1):
        end = stream.find(_V1_END, 0, _V1_MAX)
        if end >= 0:
            return end + len(_V1_END)
        return None if len(stream) < _V1_MAX else 0
    if stream.startswith(_V2):
        if len(stream) < _V2_HEADER_LEN:
            return None
        header_len = int.from_bytes(stream[_V2_HEADER_LEN - 2 : _V2_HEADER_LEN], "big")
        return _V2_HEADER_LEN + header_len
    return 0


def _is_server_hello(data: bytes) -> bool:
    """Return whether a segment begins with a ServerHello that is no HelloRetryRequest.

    Of one in small segments, the first one counts.
    """
    at = _RECORD_HEADER_LEN + _RANDOM_AT
    is_retry = data[at : at + len(RETRY)] == RETRY
    is_hello = data[_RECORD_HEADER_LEN:].startswith(_SERVER_HELLO)
    return data.startswith(_START) and is_hello and not is_retry
