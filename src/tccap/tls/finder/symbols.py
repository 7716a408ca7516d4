"""Symbols and relocations: imports, exports, and the words that are relocated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tccap.tls.finder import search
from tccap.tls.finder.elf import Elf
from tccap.tls.finder.errors import RefusedError

DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 2, 5, 6, 7, 8
DT_JMPREL, DT_RELRSZ, DT_RELR = 23, 35, 36
SHT_SYMTAB, SHT_DYNSYM = 2, 11
R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, R_X86_64_RELATIVE = 1, 6, 7, 8
STB_WEAK = 2
RELOCATIONS_MAX = 1 << 23  # Chromium has some 700,000
NAME_LEN_MAX = 256

_RELA = np.dtype([("slot", "<i8"), ("info", "<u8"), ("addend", "<i8")])
_SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
_ADDRESS_KINDS = (R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT)
_IN_PLACE = np.int64(-1)  # the addend of a RELR stands where it is applied


@dataclass(frozen=True)
class Import:
    """A word that gets a symbol's address: ``own``, or 0 if another file defines it."""

    slot: int
    name: bytes
    own: int
    is_weak: bool


class Relocations:
    """The words of a file that the dynamic linker changes, and their new values."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        tables = [
            self._table(DT_RELA, DT_RELASZ),
            self._table(DT_JMPREL, DT_PLTRELSZ),
        ]
        rows = np.concatenate(tables)
        symbol = rows["info"] >> np.uint64(32)
        kind = rows["info"] & np.uint64(0xFFFFFFFF)
        own = rows[(kind == R_X86_64_RELATIVE) & (symbol == 0)]
        packed = self._packed()
        slots = np.concatenate([own["slot"], packed])
        addends = np.concatenate([own["addend"], np.full(len(packed), _IN_PLACE)])
        order = np.argsort(slots, kind="stable")
        self._slots, self._addends = slots[order], addends[order]
        named = rows[(symbol != 0) & np.isin(kind, _ADDRESS_KINDS)]
        order = np.argsort(named["slot"], kind="stable")
        self._named = named[order]

    def own_words(self, start: int, end: int) -> list[tuple[int, int | None]]:
        """Return (address, ELF address that it will hold) of words in [start, end).

        None: the word's present value is that address.
        """
        low, high = np.searchsorted(self._slots, [start, end])
        return [
            (int(slot), None if addend == _IN_PLACE else int(addend))
            for slot, addend in zip(
                self._slots[low:high], self._addends[low:high], strict=True
            )
        ]

    def slots_of(self, target: int) -> list[int]:
        """Return the words that will hold an ELF address of this file."""
        return [int(slot) for slot in self._slots[self._addends == target]]

    def imports(self, start: int, end: int) -> list["Import"]:
        """Return the words in [start, end) that get a symbol's address."""
        low, high = np.searchsorted(self._named["slot"], [start, end])
        return [self._import(row) for row in self._named[low:high]]

    def import_at(self, slot: int) -> "Import | None":
        """Return the import of one word; None if it has none."""
        return next(iter(self.imports(slot, slot + 1)), None)

    def _table(self, start_tag: int, size_tag: int) -> npt.NDArray[np.void]:
        dynamic = self._elf.dynamic
        offset = self._elf.offset_of(dynamic.get(start_tag, -1))
        if offset is None:
            return np.zeros(0, dtype=_RELA)
        count = dynamic.get(size_tag, 0) // _RELA.itemsize
        return self._elf.array(_RELA, offset, _bounded(count))

    def _packed(self) -> npt.NDArray[np.int64]:
        """Return the words of DT_RELR: addresses, and bitmaps of the 63 words after."""
        dynamic = self._elf.dynamic
        offset = self._elf.offset_of(dynamic.get(DT_RELR, -1))
        if offset is None:
            return np.zeros(0, dtype=np.int64)
        count = dynamic.get(DT_RELRSZ, 0) // 8
        entries = self._elf.array("<u8", offset, _bounded(count))
        found: list[int] = []
        where = 0
        for entry in entries.tolist():
            if entry & 1 == 0:
                found.append(entry & (1 << 63) - 1)
                where = entry + 8
                continue
            bits = entry >> 1
            found += [where + 8 * n for n in range(63) if bits >> n & 1]
            where += 63 * 8
            _bounded(len(found))
        limit = (1 << 63) - 1
        return np.array([min(address, limit) for address in found], dtype=np.int64)

    def _import(self, relocation: Any) -> "Import":
        dynamic = self._elf.dynamic
        table = self._elf.offset_of(dynamic.get(DT_SYMTAB, -1))
        names = self._elf.offset_of(dynamic.get(DT_STRTAB, -1))
        slot, symbol = int(relocation["slot"]), int(relocation["info"]) >> 32
        if table is None or names is None:
            return Import(slot, b"", 0, is_weak=False)
        [row] = self._elf.array(_SYMBOL, table + symbol * _SYMBOL.itemsize, 1)
        return Import(
            slot,
            self._elf.string(names + int(row["name"]), NAME_LEN_MAX),
            int(row["value"]) if row["section"] else 0,
            is_weak=int(row["info"]) >> 4 == STB_WEAK,
        )


class Symbols:
    """The addresses of wanted symbols, from .dynsym and .symtab, if present."""

    def __init__(self, elf: Elf, wanted: frozenset[bytes]) -> None:
        self.address: dict[bytes, int] = {}
        for section in elf.sections:
            if section.kind not in (SHT_SYMTAB, SHT_DYNSYM):
                continue
            if section.link >= len(elf.sections):
                continue
            rows = elf.array(_SYMBOL, section.offset, section.size // _SYMBOL.itemsize)
            strings = elf.sections[section.link]
            self._read(elf, rows, strings.offset, strings.size, wanted)

    def _read(
        self,
        elf: Elf,
        rows: npt.NDArray[np.void],
        offset: int,
        size: int,
        wanted: frozenset[bytes],
    ) -> None:
        # A name may be the end of another string: linkers merge them.
        patterns = [name + b"\0" for name in wanted]
        places = {
            place - offset: pattern[:-1]
            for place, pattern in search.find(elf.data, patterns, offset, offset + size)
        }
        known = rows[np.isin(rows["name"], np.array(sorted(places), dtype=np.uint32))]
        for row in known[(known["section"] != 0) & (known["value"] != 0)]:
            self.address.setdefault(places[int(row["name"])], int(row["value"]))


def _bounded(count: int) -> int:
    if count > RELOCATIONS_MAX:
        raise RefusedError("The file is damaged: it has too many relocations.")
    return count
