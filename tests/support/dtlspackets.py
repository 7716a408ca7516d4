"""DTLS records as RFC 6347 makes them, written apart from what reads them."""

_HEADER_LEN = 12  # of a handshake message


def record(kind: int, content: bytes, *, epoch: int = 0) -> bytes:
    """Return a record of DTLS 1.2."""
    start = bytes([kind]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + bytes(6)
    return start + len(content).to_bytes(2, "big") + content


def message(kind: int, body: bytes) -> bytes:
    """Return a handshake message in one piece."""
    return _piece(kind, len(body), 0, body)


def pieces(whole: bytes, length: int) -> tuple[bytes, bytes]:
    """Return a message in two pieces; the first has this many bytes of its body."""
    kind, body = whole[0], whole[_HEADER_LEN:]
    first, rest = body[:length], body[length:]
    return _piece(kind, len(body), 0, first), _piece(kind, len(body), length, rest)


def client_hello(client_random: bytes) -> bytes:
    """Return a record with a ClientHello, of which only the begin is valid."""
    return record(22, message(1, b"\xfe\xfd" + client_random + bytes(20)))


def server_hello(random: bytes = b"t" * 32) -> bytes:
    """Return a record with a ServerHello, of which only the begin is valid."""
    return record(22, message(2, b"\xfe\xfd" + random + bytes(20)))


def _piece(kind: int, length: int, offset: int, piece: bytes) -> bytes:
    sizes = (length, 0, offset, len(piece))
    of_message, number, at, of_piece = (
        size.to_bytes(2 if place == 1 else 3, "big") for place, size in enumerate(sizes)
    )
    return bytes([kind]) + of_message + number + at + of_piece + piece
