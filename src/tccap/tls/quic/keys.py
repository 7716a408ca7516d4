"""The keys of QUIC Initial packets, which follow from a connection id.

RFC 9001, section 5, and for version 2 RFC 9369, section 3.3. Everybody who sees a
client's first packet can make these keys.
"""

import hashlib
import hmac
from functools import cached_property
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

V1: Final = 0x00000001
V2: Final = 0x6B3343CF
SAMPLE_AT, SAMPLE_LEN, NUMBER_LEN_MAX = 4, 16, 4


class _Version(NamedTuple):
    salt: bytes
    prefix: bytes  # of the labels of a direction's keys


_VERSIONS: Final = {
    V1: _Version(bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic "),
    V2: _Version(bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2 "),
}


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446, section 7.1)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


class Keys:
    """The keys of one direction."""

    def __init__(self, secret: bytes, prefix: bytes) -> None:
        self._aead = AESGCM(_expand(secret, prefix + b"key", 16))
        self._nonce = int.from_bytes(_expand(secret, prefix + b"iv", 12), "big")
        key = algorithms.AES(_expand(secret, prefix + b"hp", 16))
        self._mask = Cipher(key, modes.ECB()).encryptor()  # noqa: S305  # RFC 9001, 5.4.3

    def open(self, packet: bytes, number_at: int) -> bytes | None:
        """Return the payload of a packet, or None if it has other keys.

        ``number_at`` is where its packet number begins.
        """
        sample = packet[number_at + SAMPLE_AT :][:SAMPLE_LEN]
        if len(sample) < SAMPLE_LEN:
            return None
        mask = self._mask.update(sample)
        first = packet[0] ^ (mask[0] & 0x0F)
        number_end = number_at + (first & 3) + 1
        # Nobody sends so many Initial packets that their numbers are cut off.
        cut = packet[number_at:number_end]
        number = bytes(a ^ b for a, b in zip(cut, mask[1:], strict=False))
        header = bytes([first]) + packet[1:number_at] + number
        nonce = (self._nonce ^ int.from_bytes(number, "big")).to_bytes(12, "big")
        try:
            return self._aead.decrypt(nonce, packet[number_end:], header)
        except InvalidTag:
            return None


class InitialKeys:
    """The keys of the Initial packets of a connection, in both directions.

    ``connection_id`` is the destination of the client's first packet, or of its first
    one after a Retry. KeyError for a version other than `V1` and `V2`.
    """

    def __init__(self, version: int, connection_id: bytes) -> None:
        salt, self._prefix = _VERSIONS[version]
        # HKDF-Extract
        self._secret = hmac.digest(salt, connection_id, hashlib.sha256)

    @cached_property
    def client(self) -> Keys:
        """Those of the client's packets."""
        return Keys(_expand(self._secret, b"client in", 32), self._prefix)

    @cached_property
    def server(self) -> Keys:
        """Those of the server's packets."""
        return Keys(_expand(self._secret, b"server in", 32), self._prefix)
