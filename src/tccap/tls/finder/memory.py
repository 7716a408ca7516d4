"""Memory for emulation in which every value tells where it came from.

A *fake* is an object about which nothing is known. Each of its words holds the address
of another fake, made when a page of it is first touched. So any address, and any bytes
that were copied from anywhere, lead back to the register where the way began: a Path.
Both halves of a fake's address are unlike those of every other one, so that 32-bit
values lead back, too.
"""

import struct

from tccap.tls.sites import OFFSET_LIMIT, OFFSETS_MAX, Number, Path

PAGE_LEN = 0x1000
WORD = struct.Struct("<Q")
_WORDS_A_PAGE = PAGE_LEN // WORD.size
_START = 0x1000_0000_0000
_STRIDE = 0x1_0001_0000
_MIDDLE = 0x8000  # a fake's address is amid its memory: code may look before it
_COUNT_MAX = 24_000  # ends below 0x7000_0000_0000


class Fakes:
    """All fakes of one run."""

    def __init__(self, null: Path | None = None) -> None:
        """Make none yet; the word at ``null`` is to hold a null pointer."""
        self._null = null
        self._origins: list[int | str] = []  # the word it is in, or its register

    def make(self, origin: int | str) -> int:
        """Return the address of a new fake, which a word or a register is to hold."""
        self._origins.append(origin)
        return _START + (len(self._origins) - 1) * _STRIDE + _MIDDLE

    def holds(self, address: int) -> bool:
        """Tell whether an address lies in a fake."""
        return self._index(address) is not None

    def page(self, address: int) -> bytes | None:
        """Return what a page holds; None: it is no fake's, or there are too many."""
        if not self.holds(address) or len(self._origins) + _WORDS_A_PAGE > _COUNT_MAX:
            return None
        words = range(address, address + PAGE_LEN, WORD.size)
        content = bytearray(b"".join(WORD.pack(self.make(word)) for word in words))
        for word in words if self._null else ():
            if self.path_to(word) == self._null:
                WORD.pack_into(content, word - address, 0)
        return bytes(content)

    def path_to(self, address: int) -> Path | None:
        """Return the way to an address in a fake."""
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
        """Return the word, or the register, that holds this value to begin with."""
        index = self._index(value)
        if index is None or self._address(index) != value:
            return None
        return self._origins[index]

    def path_of_word(self, value: int) -> Path | None:
        """Return the way to the word that holds this value to begin with."""
        word = self.word_with(value)
        return self.path_to(word) if isinstance(word, int) else None

    def bytes_at(self, content: bytes) -> int | None:
        """Return the address of bytes (15 at least) that stand in a fake."""
        for shift in range(WORD.size):
            [value] = WORD.unpack_from(content, shift)
            word = self.word_with(value)
            if isinstance(word, int):
                return word - shift
        return None

    def number(self, value: int) -> Number | None:
        """Return where a number comes from: 64 bits, or 32 with nothing above them."""
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
