"""Secrets of TLS connections: which values are accepted, and the block for one.

The format is that of NSS key logs (RFC 9850); the Decryption Secrets Block is that
of pcapng section 4.7.
"""

import re
from typing import NamedTuple

from tccap.stream.blocks import Section
from tccap.tls.sites import LABELS, SECRET_LENS

RANDOM_LEN = 32
# One of these sets decrypts a connection: of TLS 1.2, of TLS 1.3.
COMPLETE = (
    frozenset({"CLIENT_RANDOM"}),
    frozenset(
        {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
        }
    ),
)
# The block is the same in every section.
_ANY_SECTION = Section("", "")
_LINE = re.compile(rb"([A-Z0-9_]{1,40}) ([0-9a-fA-F]{64}) ([0-9a-fA-F]{64,96})\s*")


class Secret(NamedTuple):
    """One secret of one connection."""

    label: str
    client_random: bytes
    secret: bytes


def accept(label: bytes, client_random: bytes, secret: bytes) -> Secret | None:
    """Return the secret, or None if label, client random or length are not valid."""
    text = label.decode("ascii", "replace")
    if text not in LABELS or len(client_random) != RANDOM_LEN:
        return None
    if len(secret) not in SECRET_LENS or not any(secret) or not any(client_random):
        return None
    return Secret(text, client_random, secret)


def parse_line(line: bytes) -> Secret | None:
    """Parse a line of a key log; None if it holds no valid secret."""
    match = _LINE.fullmatch(line)
    if not match or len(match[3]) % 2:
        return None
    random, secret = (bytes.fromhex(match[n].decode()) for n in (2, 3))
    return accept(match[1], random, secret)


def block(secret: Secret) -> bytes:
    """Return the Decryption Secrets Block that holds the secret."""
    line = f"{secret.label} {secret.client_random.hex()} {secret.secret.hex()}\n"
    return _ANY_SECTION.tls_secrets(line.encode())
