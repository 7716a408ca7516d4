"""Go programs: the log function is found by its name, also in stripped programs.

Each Go program carries a table of its functions for its own stack traces, .gopclntab
(debug/gosym and runtime.pcHeader of Go's source). In crypto/tls and its forks the log
function is (*Config).writeKeyLog(label string, clientRandom, secret []byte). It is
called whether the program wants a key log or not. Its prologue shows the calling
convention.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tccap.tls.finder import search
from tccap.tls.finder.elf import Elf
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image
from tccap.tls.sites import SITES_MAX, Number, Path, Site

_NAME = b").writeKeyLog\0"
# runtime.pcHeader: magic, two zeros, the processor's quantum (1) and word (8).
# By the first Go 1.x that has it.
_MAGICS = {2: 0xFFFFFFFB, 16: 0xFFFFFFFA, 18: 0xFFFFFFF0, 20: 0xFFFFFFF1}
_HEADERS = {struct.pack("<IHBB", m, 0, 1, 8): v for v, m in _MAGICS.items()}
_SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab")
_FUNCTIONS_MAX = 1 << 22
_NAME_LEN_MAX = 1024
_TABLES_MAX = 16
_PROLOGUE_LEN = 40
# The prologue compares rsp with the stack's limit in g. Since Go 1.17 g is in r14: cmp
# rsp, [r14+16]. Before that, it is loaded: mov rcx, fs:[...].
_BY_REGISTERS, _BY_STACK = b"\x3b\x66\x10", b"\x64\x48\x8b\x0c\x25"


@dataclass(frozen=True)
class _Table:
    """One .gopclntab; names, rows and functions are file offsets."""

    names: int  # base of the offsets of names
    rows: int  # pairs of a function's address and the offset of its record (_func)
    row: str  # numpy type of each half
    functions: int  # base of the offsets of records
    name_field: int  # offset of the name's offset in a record
    text: int  # base of the addresses
    count: int


def sites(image: Image) -> tuple[Site, ...]:
    """Return a site for each log function of a Go program."""
    elf = image.elf
    found = {a for place in _places(elf) for a in _entries(elf, _read(elf, place))}
    if len(found) > SITES_MAX:
        raise RefusedError("This Go program has too many functions that log secrets.")
    return tuple(_site(elf, address) for address in sorted(found))


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


def _read(elf: Elf, place: int) -> _Table:
    version = _HEADERS[bytes(elf.data[place : place + 8])]
    words = elf.unpack(struct.Struct("<8Q"), place + 8)
    if words[0] > _FUNCTIONS_MAX:
        raise RefusedError("The file is damaged: it has too many functions.")
    if version >= 18:
        text = words[2]
        if not text:  # Go 1.26 leaves it to the linker
            section = elf.section(b".text")
            text = section.address if section else 0
        rows = place + words[7]
        return _Table(place + words[3], rows, "<u4", rows, 4, text, words[0])
    if version == 16:
        rows = place + words[6]
        return _Table(place + words[2], rows, "<u8", rows, 8, 0, words[0])
    return _Table(place, place + 16, "<u8", place, 8, 0, words[0])


def _entries(elf: Elf, table: _Table) -> Iterator[int]:
    """Yield the addresses of the log functions that a table names."""
    names = list(_names(elf, table.names))
    if not names:
        return
    rows = elf.array(table.row, table.rows, 2 * table.count).reshape(-1, 2)
    data = elf.array("u1", 0, len(elf.data))
    # Absurd offsets wrap around and are out of bounds then.
    fields = rows[:, 1].astype(np.int64) + (table.functions + table.name_field)
    inside = (fields >= 0) & (fields <= len(data) - 4)
    fields = np.where(inside, fields, 0)
    found = np.stack([data[fields + n] for n in range(4)], axis=-1).view("<u4")[:, 0]
    for row in rows[inside & np.isin(found, np.array(names, dtype=np.uint32))]:
        address = int(row[0]) + table.text
        if elf.is_code(address):
            yield address


def _names(elf: Elf, start: int) -> Iterator[int]:
    """Yield the offsets of the log functions' names, counted from ``start``."""
    for place, _ in islice(search.find(elf.data, [_NAME], start), SITES_MAX):
        first = max(start, place - _NAME_LEN_MAX)
        before = bytes(elf.data[first:place]).rfind(b"\0")
        name = first + before + 1 - start
        if name < 1 << 32:
            yield name


def _site(elf: Elf, address: int) -> Site:
    code = elf.read(address, _PROLOGUE_LEN)
    by_registers, by_stack = _BY_REGISTERS in code, _BY_STACK in code
    if by_registers == by_stack:
        raise RefusedError("This Go program's calling convention is not known.")
    if by_registers:
        label, random, secret = (Path(r, (0,)) for r in ("rbx", "rdi", "r9"))
        label_len, secret_len = (Number(Path(r, ()), 8) for r in ("rcx", "r10"))
    else:  # above the return address: c, label, clientRandom, secret
        label, random, secret = (Path("rsp", (n, 0)) for n in (16, 32, 56))
        label_len, secret_len = (Number(Path("rsp", (n,)), 8) for n in (24, 64))
    return Site(
        address=address,
        file_offset=elf.code_offset(address),
        kind="line",
        label=label,
        label_len=label_len,
        client_random=random,
        secret=secret,
        secret_len=secret_len,
    )
