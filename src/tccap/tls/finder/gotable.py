"""The table of functions that each Go program carries for its own stack traces.

It is .gopclntab (debug/gosym and runtime.pcHeader of Go's source). From Go 1.18 on its
addresses count from the first Go function. The table does not say where that is (Go
1.26), or only after relocation (PIE), and .text may begin with functions of C. So it is
taken from the runtime's own record of the program, runtime.moduledata, which also names
the table.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from tccap.tls.finder import search
from tccap.tls.finder.elf import Elf
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image

# runtime.pcHeader: magic, two zeros, the processor's quantum (1) and word (8).
# By the first Go 1.x that has it.
_MAGICS = {2: 0xFFFFFFFB, 16: 0xFFFFFFFA, 18: 0xFFFFFFF0, 20: 0xFFFFFFF1}
_HEADERS = {struct.pack("<IHBB", m, 0, 1, 8): v for v, m in _MAGICS.items()}
_SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab")
_FUNCTIONS_MAX = 1 << 22
_NAMES_MAX = 64
_NAME_LEN_MAX = 1024
_TABLES_MAX = _MODULES_MAX = 16
# Fields of runtime.moduledata, the same from Go 1.16 on: the header's address comes
# first.
_ROWS_AT, _ROW_COUNT_AT, _FIRST_AT, _END_AT, _TEXT_AT = 128, 136, 160, 168, 176


@dataclass(frozen=True)
class Table:
    """One .gopclntab; names, rows and records are file offsets."""

    place: int
    names: int  # base of the offsets of names
    rows: int  # pairs of a function's address and the offset of its record (_func)
    row: str  # numpy type of each half
    records: int  # base of the offsets of records
    name_field: int  # offset of the name's offset in a record
    count: int

    @property
    def counts_from_text(self) -> bool:
        """Whether addresses count from the first Go function."""
        return self.row == "<u4"


def tables(elf: Elf) -> Iterator[Table]:
    """Yield the tables of a file; another Go program may be among its data."""
    for place in _places(elf):
        yield _read(elf, place)


def _places(elf: Elf) -> Iterator[int]:
    """Yield the file offsets of the tables."""
    named = [s for s in elf.sections if s.name in _SECTIONS]
    if named:
        yield from (
            s.offset for s in named if elf.data[s.offset : s.offset + 8] in _HEADERS
        )
        return
    ends = {header[1:] for header in _HEADERS}  # one: magics differ in a byte
    found = (place - 1 for place, _ in search.find(elf.data, ends, 1))
    known = (p for p in found if p % 8 == 0 and elf.data[p : p + 8] in _HEADERS)
    yield from islice(known, _TABLES_MAX)


def _read(elf: Elf, place: int) -> Table:
    version = _HEADERS[bytes(elf.data[place : place + 8])]
    words = elf.unpack(struct.Struct("<8Q"), place + 8)
    if words[0] > _FUNCTIONS_MAX:
        raise RefusedError("The file is damaged: it has too many functions.")
    if version >= 18:
        rows = place + words[7]
        return Table(place, place + words[3], rows, "<u4", rows, 4, words[0])
    if version == 16:
        rows = place + words[6]
        return Table(place, place + words[2], rows, "<u8", rows, 8, words[0])
    return Table(place, place, place + 16, "<u8", place, 8, words[0])


def names(elf: Elf, table: Table, ending: bytes) -> list[int]:
    """Return the offsets of the names that end so, as records have them."""
    found = []
    pattern = ending + b"\0"
    for place, _ in islice(search.find(elf.data, [pattern], table.names), _NAMES_MAX):
        first = max(table.names, place - _NAME_LEN_MAX)
        before = bytes(elf.data[first:place]).rfind(b"\0")
        name = first + before + 1 - table.names
        if name < 1 << 32:
            found.append(name)
    return found


def entries(image: Image, table: Table, names_: list[int]) -> Iterator[int]:
    """Yield the addresses of the functions with these names."""
    rows = _rows_named(image.elf, table, names_)
    if not len(rows):
        return
    if table.counts_from_text:
        all_rows = image.elf.array(table.row, table.rows, 2 * table.count + 1)
        for text in _text_starts(image, table, all_rows):
            yield from (text + int(all_rows[2 * row]) for row in rows)
        return
    for row in rows:
        for address in image.elf.addresses_of(table.rows + 16 * int(row)):
            yield image.word(address) or 0


def _rows_named(elf: Elf, table: Table, names_: list[int]) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows whose records have one of these names."""
    rows = elf.array(table.row, table.rows, 2 * table.count).reshape(-1, 2)
    data = elf.array("u1", 0, len(elf.data))
    # Absurd offsets wrap around and are out of bounds then.
    fields = rows[:, 1].astype(np.int64) + (table.records + table.name_field)
    inside = (fields >= 0) & (fields <= len(data) - 4)
    fields = np.where(inside, fields, 0)
    found = np.stack([data[fields + n] for n in range(4)], axis=-1).view("<u4")[:, 0]
    return np.flatnonzero(inside & np.isin(found, np.array(names_, dtype=np.uint32)))


def _text_starts(
    image: Image, table: Table, rows: npt.NDArray[np.uint32]
) -> Iterator[int]:
    """Yield the address that rows count from, of each module with this table."""
    for address in image.elf.addresses_of(table.place):
        for module in islice(image.pointers_to(address), _MODULES_MAX):
            text = image.word(module + _TEXT_AT)
            if text is None:
                continue
            expected = {
                _ROWS_AT: address + table.rows - table.place,
                _ROW_COUNT_AT: table.count + 1,  # with the end of the last function
                _FIRST_AT: text + int(rows[0]),
                _END_AT: text + int(rows[2 * table.count]),
            }
            if all(image.word(module + at) == v for at, v in expected.items()):
                yield text
