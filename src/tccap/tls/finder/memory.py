"""Memory for emulation in which every value identifies its origin.

A *fake* is an object of unknown layout. Each of its words holds the address of another
fake, which is made when the page is first touched; all these addresses differ. So any
address, and any bytes copied from a fake, lead back to a register at the function's
entry by a chain of loads: a `Path`. Both 32-bit halves of the addresses are unique as
well, so that 32-bit values lead back, too.
"""

import struct
from collections.abc import Mapping

from tccap.tls.sites import OFFSET_LIMIT, OFFSETS_MAX, Number, Path

PAGE_LEN = 0x1000
WORD = struct.Struct("<Q")
_WORDS_A_PAGE = PAGE_LEN // WORD.size
_START = 0x1000_0000_0000
_STRIDE = 0x1_0001_0000
_MIDDLE = 0x8000  # a fake's address is amid its memory: offsets may be negative
_COUNT_MAX = 24_000  # the last fake ends below 0x7000_0000_0000


class Fakes:
    """All fakes of one run."""

    def __init__(self, words: Mapping[Path, int] | None = None) -> None:
        """Begin without fakes; ``words`` will hold these numbers instead of fakes."""
        self._words = dict(words or {})
        self._origins: list[
            int | str
        ] = []  # address of the word that points to it, or a register

    def make(self, origin: int | str) -> int:
        """Return the address of a new fake, for a word or a register to hold."""
        self._origins.append(origin)
        return _START + (len(self._origins) - 1) * _STRIDE + _MIDDLE

    def holds(self, address: int) -> bool:
        """Return whether an address is in a fake."""
        return self._index(address) is not None

    def page(self, address: int) -> bytes | None:
        """Return the content of a page; None if it is no fake's, or all are used up."""
        if not self.holds(address) or len(self._origins) + _WORDS_A_PAGE > _COUNT_MAX:
            return None
        words = range(address, address + PAGE_LEN, WORD.size)
        content = bytearray(b"".join(WORD.pack(self.make(word)) for word in words))
        for word in words if self._words else ():
            path = self.path_to(word)
            if path in self._words:
                WORD.pack_into(content, word - address, self._words[path])
        return bytes(content)

    def path_to(self, address: int) -> Path | None:
        """Return the path to an address in a fake; None if it has too many loads."""
        offsets: list[int] = []
        while len(offsets) < OFFSETS_MAX:
            index = self._index(address)
            if index is None:
                return None
            offset = address - self._address(index)
            if abs(offset) >= OFFSET_LIMIT:
                return None
            offsets.insert(0, offset)
            origin = self._origins[index]
            if isinstance(origin, str):
                return Path(origin, tuple(offsets))
            address = origin
        return None

    def word_with(self, value: int) -> int | str | None:
        """Return the word's address, or the register, that first held this value."""
        index = self._index(value)
        if index is None or self._address(index) != value:
            return None
        return self._origins[index]

    def path_of_word(self, value: int) -> Path | None:
        """Return the path to the word that first held this value."""
        word = self.word_with(value)
        return self.path_to(word) if isinstance(word, int) else None

    def bytes_at(self, content: bytes) -> int | None:
        """Return the address in a fake that these bytes (15 at least) come from."""
        for shift in range(WORD.size):
            [value] = WORD.unpack_from(content, shift)
            word = self.word_with(value)
            if isinstance(word, int):
                return word - shift
        return None

    def number(self, value: int) -> Number | None:
        """Return the origin of a number of 64 bits, or of 32 with zeros above them."""
        found = self._number(self.word_with(value), 8)
        if found or value >> 32:
            return found
        for index in range(len(self._origins)):
            address, origin = self._address(index), self._origins[index]
            if value == address & 0xFFFFFFFF:
                return self._number(origin, 4)
            if value == address >> 32 and isinstance(origin, int):
                return self._number(origin + 4, 4)
        return None

    def _number(self, origin: int | str | None, width: int) -> Number | None:
        if isinstance(origin, str):
            return Number(Path(origin, ()), width)
        path = self.path_to(origin) if origin is not None else None
        return Number(path, width) if path else None

    def _index(self, address: int) -> int | None:
        index = (address - _START) // _STRIDE
        return index if 0 <= index < len(self._origins) else None

    @staticmethod
    def _address(index: int) -> int:
        return _START + index * _STRIDE + _MIDDLE
