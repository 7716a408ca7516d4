"""QUIC packets as RFC 9001 makes them, written apart from what reads them."""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

V1, V2 = 1, 0x6B3343CF
# By version: the salt, the label prefix, and the first byte of an Initial packet.
_OF_VERSION = {
    V1: ("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", b"quic ", 0xC0),
    V2: ("0dede3def700a6db819381be6e269dcbf9bd2ed9", b"quicv2 ", 0xD0),
}
_NUMBER_LEN, _TAG_LEN = 4, 16


def varint(value: int) -> bytes:
    """Return a variable-length integer of as few bytes as can be."""
    for power in range(4):
        if value < 1 << (8 * (1 << power) - 2):
            return (value | power << (8 * (1 << power) - 2)).to_bytes(1 << power, "big")
    raise OverflowError(value)


def crypto(offset: int, data: bytes) -> bytes:
    """Return a CRYPTO frame."""
    return b"\x06" + varint(offset) + varint(len(data)) + data


def client_hello(client_random: bytes, length: int = 300) -> bytes:
    """Return a ClientHello, of which only the begin is valid."""
    body = b"\x03\x03" + client_random + b"\x20" * (length - 38)
    return b"\x01" + len(body).to_bytes(3, "big") + body


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0\1"
    return hmac.digest(secret, info, hashlib.sha256)[:length]


def initial(  # noqa: PLR0913  # each is a field of the packet
    payload: bytes,
    *,
    origin: bytes,
    destination: bytes | None = None,
    source: bytes = b"source",
    token: bytes = b"",
    version: int = V1,
    side: bytes = b"client in",
    number: int = 2,
    length: int = 0,
) -> bytes:
    """Return an Initial packet; ``origin`` is the connection id of its keys.

    It is sent there unless there is a ``destination``, and padded to ``length``.
    """
    salt, prefix, first = _OF_VERSION[version]
    ids = [origin if destination is None else destination, source]
    named = b"".join(bytes([len(each)]) + each for each in ids)
    header = version.to_bytes(4, "big") + named + varint(len(token)) + token
    space = length - 1 - len(header) - 2 - _NUMBER_LEN - _TAG_LEN
    payload += bytes(max(0, space - len(payload)))
    rest_len = _NUMBER_LEN + len(payload) + _TAG_LEN
    header += (rest_len | 0x4000).to_bytes(2, "big")
    secret = _expand(hmac.digest(bytes.fromhex(salt), origin, "sha256"), side, 32)
    whole = bytes([first | _NUMBER_LEN - 1]) + header + number.to_bytes(4, "big")
    return _protected(whole, payload, number, (secret, prefix))


def _protected(
    header: bytes, payload: bytes, number: int, keys: tuple[bytes, bytes]
) -> bytes:
    secret, prefix = keys
    key, iv, hp = (
        _expand(secret, prefix + label, length)
        for label, length in ((b"key", 16), (b"iv", 12), (b"hp", 16))
    )
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(key).encrypt(nonce, payload, header)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(sealed[:16])
    covered = bytes(a ^ b for a, b in zip(header[-4:], mask[1:5], strict=True))
    return bytes([header[0] ^ mask[0] & 15]) + header[1:-4] + covered + sealed


def long_packet(kind: int, content: bytes, *, version: int = V1) -> bytes:
    """Return a 0-RTT (1) or Handshake (2) packet, with anything in it."""
    shifted = kind + (version == V2) & 3
    first = bytes([0xC0 | shifted << 4])
    header = first + version.to_bytes(4, "big") + b"\x01d\x01s"
    return header + varint(len(content)) + content


def retry(source: bytes, token: bytes = b"token", *, version: int = V1) -> bytes:
    """Return a Retry packet with a wrong tag."""
    first = 0xC0 if version == V2 else 0xF0
    ids = b"\x00" + bytes([len(source)]) + source
    return bytes([first]) + version.to_bytes(4, "big") + ids + token + bytes(16)


def version_negotiation() -> bytes:
    """Return a Version Negotiation packet that offers version 2."""
    return b"\x80" + bytes(4) + b"\x00\x00" + V2.to_bytes(4, "big")
