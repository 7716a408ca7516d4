"""Blocks of pcapng for tests that need no capture: a type, and any body."""

import struct

SECTION, INTERFACE, STATISTICS, PACKET, SECRETS = 0x0A0D0D0A, 1, 5, 6, 10


def block(kind: int, body: bytes = b"body") -> bytes:
    """Return a block; a body has a multiple of 4 bytes."""
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


HEADS = block(SECTION) + block(INTERFACE)
