"""Synthetic Go programs for x86-64: a table of functions, module data, and code.

As crypto/tls has them: callers pass labels to the log function. A `Shape` says how the
program was linked, and what is wrong with it.
"""

import random
import struct
from dataclasses import dataclass, field

from support.elf import PROGRAM, elf, load
from tccap.tls.sites import LABELS

BASE = 0x400000
_LOG_NAME = b"crypto/tls.(*Config).writeKeyLog"
_ALIGNMENT = 32
_ENTRIES = (
    b"\x49\x3b\x66\x10",  # cmp rsp, [r14+16]
    b"\x4c\x8d\x64\x24\xd0\x4d\x3b\x66\x10",  # lea r12, [rsp-48]; cmp r12, [r14+16]
    b"\x4c\x8d\xa4\x24\x00\xfe\xff\xff\x4d\x3b\x66\x10",
)
_RELATIVE = 8  # R_X86_64_RELATIVE
_CALL, _LEA_RBX, _MOV_ECX = b"\xe8", b"\x48\x8d\x1d", b"\xb9"


@dataclass(frozen=True)
class Shape:
    """How a program is linked."""

    seed: int
    functions: int = 12
    c_len: int = 0  # code of C before the first Go function
    relocations: str = "none"  # "rela": the file has zeros; "relr": the values
    text_in_header: bool = False  # as before Go 1.26
    text_shift: int = 0  # of the start of the text that the module data says
    ends_shift: int = 0  # of the module's first and last address
    row_shift: int = 0  # of the address of the log function in the table
    cold: bool = False  # parts of functions far from their entries, with names
    callers: bool = True  # pass labels to the log function
    decoys: int = 0  # words like module data


@dataclass
class _Code:
    """Machine code that grows, at an address."""

    address: int
    content: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.address + len(self.content)

    def align(self) -> int:
        self.content += b"\xcc" * (-len(self.content) % _ALIGNMENT)
        return self.end

    def relative(self, opcode: bytes, target: int) -> None:
        distance = target - (self.end + len(opcode) + 4)
        self.content += opcode + struct.pack("<i", distance)


class Program:
    """One program; ``log_function`` is the address that may be probed."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = random.Random(shape.seed)
        self._relocations: list[tuple[int, int]] = []
        self._strings = BASE + 0x1000
        self.log_function = 0
        self.content = self._link()

    def _link(self) -> bytes:
        strings = "".join(LABELS).encode().ljust(0x200, b"x")
        code = _Code(self._strings + len(strings))
        rows, names = self._code(code)
        table_at = code.align()
        table = self._table(table_at, rows, names)
        module_at = table_at + len(table) + 8 * self._random.randrange(8)
        text = rows[0][0] + self._shape.text_shift
        module = self._module(module_at, table_at, table, text, rows)
        body = strings + code.content + table
        body += bytes(module_at - table_at - len(table)) + module
        return self._file(body)

    # Code.

    def _code(self, code: _Code) -> tuple[list[tuple[int, bytes]], list[bytes]]:
        """Write the functions; return (address, name) of each, and of the end."""
        code.content += self._random.randbytes(self._shape.c_len)
        log_number = self._random.randrange(2, self._shape.functions - 2)
        found = []
        for number in range(self._shape.functions):
            address = code.align()
            name = b"main.f%d" % number
            code.content += self._random.choice(_ENTRIES)
            if number == log_number:
                self.log_function, name = address, _LOG_NAME
            code.content += b"\x90" * self._random.randrange(4, 60) + b"\xc3"
            found.append((address, name))
            if self._shape.cold:
                found.append((code.align(), b"main.f%d.cold" % number))
                code.content += b"\x90\x0f\x1f\x00\xc3"
        self._callers(code, found)
        found.append((code.align(), b""))
        return found, [name for _, name in found]

    def _callers(self, code: _Code, found: list[tuple[int, bytes]]) -> None:
        address = code.align()
        code.content += _ENTRIES[0]
        others = [each for each, _ in found if each != self.log_function]
        for number, label in enumerate(LABELS):
            target = self.log_function
            if not self._shape.callers:  # each function gets two labels at most
                target = others[number % len(others)]
            code.relative(_LEA_RBX, self._strings + "".join(LABELS).index(label))
            code.content += _MOV_ECX + struct.pack("<I", len(label))
            code.relative(_CALL, target)
            # What follows must not be taken for a call with the label.
            code.relative(_CALL, self._random.choice(others))
        code.content += b"\xc3"
        found.append((address, b"main.handshake"))

    # Data.

    def _table(
        self, at: int, rows: list[tuple[int, bytes]], names: list[bytes]
    ) -> bytes:
        shape, start = self._shape, rows[0][0]
        texts = b"".join(name + b"\0" for name in names)
        names_at = 8 + 8 * 8
        rows_at = names_at + (len(texts) + 7) // 8 * 8
        records_at = 8 * len(rows)
        places = [texts.index(name + b"\0") for name in names]
        found, records = b"", b""
        for n, (address, name) in enumerate(rows):
            shift = shape.row_shift if name == _LOG_NAME else 0
            found += struct.pack("<iI", address - start + shift, records_at + 8 * n)
            records += struct.pack("<iI", address - start, places[n])
        # The last row is the end of the last function, and has no record.
        count = len(rows) - 1
        header = struct.pack("<IHBB", 0xFFFFFFF1, 0, 1, 8)
        self._word(at + 24, start if shape.text_in_header else 0)
        text = start if shape.text_in_header and shape.relocations != "rela" else 0
        header += struct.pack("<8Q", count, 1, text, names_at, 0, 0, 0, rows_at)
        return (header + texts).ljust(rows_at, b"\0") + found + records

    def _module(
        self,
        at: int,
        table_at: int,
        table: bytes,
        text: int,
        rows: list[tuple[int, bytes]],
    ) -> bytes:
        [rows_at] = struct.unpack_from("<Q", table, 64)
        first = rows[0][0] + self._shape.ends_shift
        end = rows[-1][0] + self._shape.ends_shift
        module = [0] * 40
        pointers = {0: table_at, 104: table_at + rows_at, 128: table_at + rows_at}
        pointers |= {160: first, 168: end, 176: text, 184: end}
        for offset, value in pointers.items():
            module[offset // 8] = value
            self._word(at + offset, value)
        module[136 // 8] = len(rows)
        if self._shape.relocations == "rela":
            for offset in pointers:
                module[offset // 8] = 0
        decoys = b""
        for _ in range(self._shape.decoys):
            decoy = [table_at, *self._random.choices(range(BASE, end), k=39)]
            decoys += struct.pack("<40Q", *decoy)
        return struct.pack("<40Q", *module) + decoys

    def _word(self, at: int, value: int) -> None:
        if value:
            self._relocations.append((at, value))

    def _file(self, body: bytes) -> bytes:
        end = self._strings + len(body)
        end += -end % 8
        body = body.ljust(end - self._strings, b"\0")
        tables, dynamic = b"", [(0, 0)]
        if self._shape.relocations == "rela":
            tables = b"".join(
                struct.pack("<QQq", at, _RELATIVE, value)
                for at, value in self._relocations
            )
            dynamic = [(7, end), (8, len(tables)), (0, 0)]
        elif self._shape.relocations == "relr":
            tables = b"".join(struct.pack("<Q", at) for at, _ in self._relocations)
            dynamic = [(36, end), (35, len(tables)), (0, 0)]
        entries = b"".join(struct.pack("<QQ", *each) for each in dynamic)
        offset = self._strings - BASE
        size = len(body) + len(tables) + len(entries)
        place = offset + len(body) + len(tables)
        dynamic_segment = PROGRAM.pack(
            2, 4, place, BASE + place, 0, len(entries), len(entries), 8
        )
        headers = elf(load(offset, self._strings, size), dynamic_segment)
        return headers.ljust(offset, b"\0") + body + tables + entries
