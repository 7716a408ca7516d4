"""ELF files (gABI, psABI x86-64); every field is checked, as the file is untrusted.

Addresses are ELF virtual addresses, without the load bias of a library.
"""

import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tccap.tls.finder.errors import RefusedError

ET_EXEC, ET_DYN = 2, 3
EM_X86_64 = 62
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
PF_X = 1
NT_GNU_BUILD_ID = 3
SECTION_HEADER, NOTE_HEADER = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<III")
ADDRESS_LIMIT = 1 << 40  # more than any file can need
HEADERS_MAX = 4096  # program headers, sections, entries of the dynamic table, notes
BUILD_ID_LEN_MAX = 64

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<QQ")

Data = bytes | mmap.mmap


@dataclass(frozen=True)
class Segment:
    """A program header; lengths are bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    file_len: int
    memory_len: int


@dataclass(frozen=True)
class Section:
    """A section header; ``link`` is the index of the section that belongs to it."""

    name: bytes
    kind: int
    address: int
    offset: int
    size: int
    link: int


class Elf:
    """One file's bytes; reading outside them is a RefusedError."""

    def __init__(self, data: Data) -> None:
        self.data = data
        header = self.unpack(_HEADER, 0)
        ident, kind, machine = header[:3]
        if ident[:4] != b"\x7fELF":
            raise RefusedError("It is not an ELF file.")
        if ident[4:6] != b"\x02\x01" or machine != EM_X86_64:
            raise RefusedError("Only programs for x86-64 are understood.")
        if kind not in (ET_EXEC, ET_DYN):
            raise RefusedError("It is neither a program nor a shared library.")
        self.is_relocatable = kind == ET_DYN
        self._section_table = (header[6], header[11], header[12], header[13])
        segments = self._segments(header[5], header[9], header[10])
        self.loads = tuple(s for s in segments if s.kind == PT_LOAD)
        self.codes = tuple(s for s in self.loads if s.flags & PF_X)
        self._others = tuple(s for s in segments if s.kind != PT_LOAD)

    def unpack(self, form: struct.Struct, offset: int) -> tuple[Any, ...]:
        """Return the struct at an offset of the file."""
        if not 0 <= offset <= len(self.data) - form.size:
            raise _damaged()
        return form.unpack_from(self.data, offset)

    def array(self, form: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
        """Return ``count`` items at an offset of the file, without copying them."""
        form = np.dtype(form)
        if count < 0 or not 0 <= offset <= len(self.data) - count * form.itemsize:
            raise _damaged()
        return np.frombuffer(self.data, dtype=form, count=count, offset=offset)

    def _segments(self, offset: int, size: int, count: int) -> list[Segment]:
        if size != _SEGMENT.size or not 0 < count <= HEADERS_MAX:
            raise _damaged()
        found = []
        for n in range(count):
            kind, flags, place, address, _physical, file_len, memory_len, _ = (
                self.unpack(_SEGMENT, offset + n * size)
            )
            if kind in (PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME):
                self._check_segment(place, address, file_len, memory_len)
                found.append(Segment(kind, flags, place, address, file_len, memory_len))
        return found

    def _check_segment(
        self, offset: int, address: int, file_len: int, memory_len: int
    ) -> None:
        inside = offset + file_len <= len(self.data) and file_len <= memory_len
        if not inside or address + memory_len >= ADDRESS_LIMIT:
            raise _damaged()

    # --- addresses ----------------------------------------------------------

    def offset_of(self, address: int) -> int | None:
        """Return the file offset of an address; None if the file has no byte for it."""
        for load in self.loads:
            if load.address <= address < load.address + load.file_len:
                return address - load.address + load.offset
        return None

    def addresses_of(self, offset: int) -> list[int]:
        """Return the addresses at which a byte of the file is loaded."""
        return [
            offset - load.offset + load.address
            for load in self.loads
            if load.offset <= offset < load.offset + load.file_len
        ]

    def code_offset(self, address: int) -> int:
        """Return the file offset of an instruction; RefusedError if it is none."""
        offset = self.offset_of(address)
        if offset is None or not self.is_code(address):
            raise _damaged()
        return offset

    def is_code(self, address: int) -> bool:
        """Return whether an address is in an executable segment."""
        return any(s.address <= address < s.address + s.file_len for s in self.codes)

    def read(self, address: int, size: int) -> bytes:
        """Return the file's bytes at an address; fewer at the end of a segment."""
        for load in self.loads:
            left = load.address + load.file_len - address
            if 0 < left <= load.file_len:
                start = address - load.address + load.offset
                return bytes(self.data[start : start + min(size, left)])
        return b""

    def page(self, address: int, size: int) -> bytes | None:
        """Return a page as the loader maps it; None if no segment touches it."""
        found = None
        for load in self.loads:
            first = load.address - load.address % size
            if not first <= address < load.address + load.memory_len:
                continue
            found = found or bytearray(size)
            low = max(load.address, address)
            content = self.read(low, address + size - low)
            found[low - address : low - address + len(content)] = content
        return bytes(found) if found else None

    # --- tables -------------------------------------------------------------

    @cached_property
    def dynamic(self) -> dict[int, int]:
        """The dynamic table: the first value of each tag."""
        found: dict[int, int] = {}
        for segment in self._others:
            if segment.kind != PT_DYNAMIC:
                continue
            count = min(segment.file_len // _DYNAMIC.size, HEADERS_MAX)
            for n in range(count):
                tag, value = self.unpack(_DYNAMIC, segment.offset + n * _DYNAMIC.size)
                if tag == 0:
                    break
                found.setdefault(tag, value)
        return found

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers; empty if they are stripped or damaged."""
        offset, size, count, names = self._section_table
        if not offset or size != SECTION_HEADER.size or not 0 < count <= HEADERS_MAX:
            return ()
        try:
            rows = [
                self.unpack(SECTION_HEADER, offset + n * size) for n in range(count)
            ]
        except RefusedError:
            return ()
        base = rows[names][4] if names < count else 0
        return tuple(
            Section(self.string(base + r[0], 64), r[1], r[3], r[4], r[5], r[6])
            for r in rows
        )

    def section(self, name: bytes) -> Section | None:
        """Return the section of that name."""
        return next((s for s in self.sections if s.name == name), None)

    def string(self, offset: int, longest: int) -> bytes:
        """Return the bytes from an offset of the file to a NUL, ``longest`` at most."""
        if not 0 <= offset < len(self.data):
            return b""
        return bytes(self.data[offset : offset + longest]).partition(b"\0")[0]

    def segment(self, kind: int) -> Segment | None:
        """Return the first program header of a kind other than PT_LOAD."""
        return next((s for s in self._others if s.kind == kind), None)

    @cached_property
    def build_id(self) -> str:
        """The build id in hexadecimal; empty if there is none."""
        for segment in self._others:
            if segment.kind == PT_NOTE:
                for kind, name, description in self._notes(segment):
                    if kind == NT_GNU_BUILD_ID and name == b"GNU\0":
                        return description[:BUILD_ID_LEN_MAX].hex()
        return ""

    def _notes(self, segment: Segment) -> Iterable[tuple[int, bytes, bytes]]:
        place, end = segment.offset, segment.offset + segment.file_len
        for _ in range(HEADERS_MAX):
            if place + NOTE_HEADER.size > end:
                return
            name_len, text_len, kind = self.unpack(NOTE_HEADER, place)
            name = place + NOTE_HEADER.size
            text = name + (name_len + 3) // 4 * 4
            place = text + (text_len + 3) // 4 * 4
            if place > end:
                return
            yield (
                kind,
                bytes(self.data[name : name + name_len]),
                bytes(self.data[text : text + text_len]),
            )


def _damaged() -> RefusedError:
    return RefusedError("The file is damaged: it says more than it holds.")
