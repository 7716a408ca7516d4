"""What the frames of an Initial packet say (RFC 9000, sections 12.4 and 19)."""

import contextlib
from typing import Final, NamedTuple

from tccap.tls.keylog import RANDOM_LEN
from tccap.tls.quic.reader import Reader, TruncatedError

_PING, _ACK, _ACK_ECN, _CRYPTO, _CONNECTION_CLOSE = 0x01, 0x02, 0x03, 0x06, 0x1C
# A ClientHello begins with its type, length and version (RFC 8446, section 4).
_RANDOM_AT: Final = 6
START_LEN: Final = _RANDOM_AT + RANDOM_LEN
_CLIENT_HELLO, _TLS_1_2 = 1, b"\x03\x03"
# More frames in a packet, or ranges in an acknowledgement, are not looked at.
FRAMES_MAX: Final = 256


class Frames(NamedTuple):
    """What matters of an Initial packet's frames."""

    crypto: list[tuple[int, bytes]]  # pieces of the handshake, with their offsets
    closes: bool  # the connection has failed


NONE: Final = Frames([], closes=False)


def read(payload: bytes) -> Frames:
    """Read frames, up to one that an Initial packet may not have."""
    found = Frames([], closes=False)
    reader = Reader(payload)
    with contextlib.suppress(TruncatedError):
        for _ in range(FRAMES_MAX):
            if not reader.rest_len:
                break
            kind = reader.varint()
            if kind == _CRYPTO:
                offset = reader.varint()
                found.crypto.append((offset, reader.take(reader.varint())))
            elif kind == _CONNECTION_CLOSE:
                return found._replace(closes=True)
            elif not _skip(reader, kind):
                break
    return found


def _skip(reader: Reader, kind: int) -> bool:
    """Move past a frame; return whether an Initial packet may have it."""
    if kind in (_ACK, _ACK_ECN):
        _skip_ack(reader, counts=3 if kind == _ACK_ECN else 0)
    reader.skip_zeros()  # PADDING
    return kind in (0, _PING, _ACK, _ACK_ECN)


def _skip_ack(reader: Reader, counts: int) -> None:
    reader.varint()  # the largest number
    reader.varint()  # the delay
    ranges = reader.varint()
    if ranges > FRAMES_MAX:
        raise TruncatedError
    for _ in range(1 + 2 * ranges + counts):
        reader.varint()


class HelloStart:
    """The first bytes of a ClientHello, whose pieces come in any order."""

    def __init__(self) -> None:
        self._content = bytearray(START_LEN)
        self._missing = {*range(START_LEN)}

    def add(self, offset: int, piece: bytes) -> None:
        """Take a piece of the handshake."""
        part = piece[: max(0, START_LEN - offset)]
        end = offset + len(part)
        self._content[offset:end] = part
        self._missing -= {*range(offset, end)}

    @property
    def client_random(self) -> bytes | None:
        """The client random; None if it is not there (yet)."""
        content = self._content
        if self._missing or content[0] != _CLIENT_HELLO or content[4:6] != _TLS_1_2:
            return None
        return bytes(content[_RANDOM_AT:])
