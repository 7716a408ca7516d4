"""One ELF file and the tables made from it, each at its first use."""

import struct
from collections.abc import Iterator
from functools import cached_property

from tccap.tls.finder import search
from tccap.tls.finder.elf import Data, Elf
from tccap.tls.finder.symbols import Import, Relocations, Symbols
from tccap.tls.finder.unwind import Functions

_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_BND = b"\xf2"
_WORD = struct.Struct("<Q")
_JUMP_THROUGH = b"\xff\x25"  # jmp [rip+d32]


class Image:
    """An ELF file as all parts of the finder see it."""

    def __init__(self, data: Data, wanted: frozenset[bytes]) -> None:
        self.elf = Elf(data)
        self._wanted = wanted

    @cached_property
    def relocations(self) -> Relocations:
        """The words that the dynamic linker changes."""
        return Relocations(self.elf)

    @cached_property
    def symbols(self) -> Symbols:
        """The addresses of the symbols that the finder asks for."""
        return Symbols(self.elf, self._wanted)

    @cached_property
    def functions(self) -> Functions:
        """Where functions begin and end."""
        return Functions(self.elf)

    def word(self, address: int) -> int | None:
        """Return a word as it is after relocation; None if the file does not have it.

        Pointers are ELF addresses then, without the load bias.
        """
        for _, target in self.relocations.own_words(address, address + 1):
            if target is not None:
                return target
        content = self.elf.read(address, _WORD.size)
        return int(_WORD.unpack(content)[0]) if len(content) == _WORD.size else None

    def pointers_to(self, target: int) -> Iterator[int]:
        """Yield the addresses of the aligned words that may hold an ELF address."""
        yield from self.relocations.slots_of(target)
        for place, _ in search.find(self.elf.data, [_WORD.pack(target)]):
            yield from (a for a in self.elf.addresses_of(place) if a % _WORD.size == 0)

    def imported(self, target: int) -> bytes | None:
        """Return the symbol that code at an address jumps to, if it is a PLT entry."""
        found = self._import_behind(target)
        return found.name if found else None

    def called(self, target: int) -> int:
        """Return the function of this file that a call to an address runs.

        If its name is exported, the call goes through a PLT entry, and another file may
        have a function of that name to run instead: then nothing happens here.
        """
        found = self._import_behind(target)
        return found.own if found and found.own else target

    def _import_behind(self, target: int) -> Import | None:
        code = self.elf.read(target, 16)
        start = 0
        for prefix in (_ENDBR64, _BND):
            start += len(prefix) if code[start:].startswith(prefix) else 0
        if code[start : start + 2] != _JUMP_THROUGH or len(code) < start + 6:
            return None
        [distance] = struct.unpack_from("<i", code, start + 2)
        return self.relocations.import_at(target + start + 6 + distance)
