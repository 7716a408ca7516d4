"""Reading the fields of QUIC packets one after the other."""

import re
from typing import Final

_NOT_ZERO: Final = re.compile(rb"[^\0]")


class TruncatedError(Exception):
    """The bytes end before the field does."""


class Reader:
    """A position in some bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    @property
    def rest_len(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self.at

    def take(self, length: int) -> bytes:
        """Return the next bytes; TruncatedError if there are fewer."""
        if length > self.rest_len:
            raise TruncatedError
        self.at += length
        return self._data[self.at - length : self.at]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """Return a variable-length integer (RFC 9000, section 16)."""
        first = self.byte()
        rest = self.take((1 << (first >> 6)) - 1)
        return int.from_bytes(bytes([first & 0x3F]) + rest, "big")

    def skip_zeros(self) -> None:
        """Move to the next byte that is not zero, or to the end."""
        found = _NOT_ZERO.search(self._data, self.at)
        self.at = found.start() if found else len(self._data)
