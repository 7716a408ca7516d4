"""Synthetic programs with rustls's calls of its key log, for x86-64.

Each secret of TLS 1.3 has the code that compilers make: derived, then `will_log`, a
test, and `log` behind it. A `Shape` says how it was compiled, and what is wrong there.
"""

import random
import struct
from dataclasses import dataclass

from support.elf import elf, load
from tccap.tls.sites import LABELS, Number, Path, Site

BASE = 0x400000
_STRINGS, _CODE = 0x1000, 0x2000
_TRAFFIC = [label for label in LABELS if "_RANDOM" not in label and "_SECRET" in label]
_LEA_RSI, _LEA_RCX = b"\x48\x8d\x35", b"\x48\x8d\x0d"
_MOV_EDX, _MOV_R8D = b"\xba", b"\x41\xb8"
_OBJECTS = {"r14": b"\x4c\x89\xf7", "r13": b"\x4c\x89\xef", "rbx": b"\x48\x89\xdf"}
_LOG, _WILL_LOG = b"\xff\x55\x20", b"\xff\x55\x28"  # call [rbp+d8]
_LOADS = (  # mov r15 and r12, [rax+rcx] or [rcx+8*rax-8]
    (b"\x4c\x8b\x3c\x08", b"\x4c\x8b\x24\x08"),
    (b"\x4c\x8b\x7c\xc1\xf8", b"\x4c\x8b\x64\xc1\xf8"),
)
# movzx r15d, byte [rax+rcx]; mov r12, [rcx+8*rax]
_BYTE_LOADS = (b"\x44\x0f\xb6\x3c\x08", b"\x4c\x8b\x24\xc1")
# lea rax, [rdi]; mov rdx, [rdi+64]; ret
_AS_SLICE = b"\x48\x8d\x07\x48\x8b\x57\x40\xc3"
_NOPS = b"\x90" * 256


@dataclass(frozen=True)
class Shape:
    """How a program is compiled; each field after ``len_from`` is a fault."""

    seed: int
    table: bool = False  # of labels, which one function for all secrets uses
    byte_lens: bool = False  # in a table of the labels' lengths
    beside_c: bool = False  # the labels are there once more, as a library of C has them
    len_from: str = "memory"  # the secret's: or from a "register", or a "function"
    reference_shift: int = 0  # of the label that is loaded
    len_shift: int = 0  # of its length
    other_label: bool = False  # `log` gets another label than `will_log`
    other_object: bool = False
    random_len: int = 32
    tests: bytes = b"\x84\xc0"  # test al, al
    direct: bool = False  # functions that are called directly, as in C
    constant_len: bool = False  # the secret's length is no word of memory
    cold: bool = False  # another function jumps into the midst
    entry_shift: int = 0  # of the table's entry


class Program:
    """One program; ``sites`` are those that may be probed."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = random.Random(shape.seed)
        self._code = bytearray(_NOPS)
        self._strings = bytearray()
        self._at: dict[str, int] = {}
        self._jumps: list[int] = []
        self.sites: set[Site] = set()
        self._add_strings()
        self._as_slice = self._add_words([self._here])
        self._code += _AS_SLICE
        if shape.table:
            self._add_table()
        else:
            for label in _TRAFFIC:
                self._add_secret(label)
        self._add_master_secret()
        if shape.cold:
            self._relative(b"\xe9", self._random.choice(self._jumps))
        self._code += _NOPS

    @property
    def content(self) -> bytes:
        """The ELF file."""
        body = bytes(self._strings).ljust(_CODE - _STRINGS, b"\0") + self._code
        head = elf(load(_STRINGS, BASE + _STRINGS, len(body)), kind=2)
        return head.ljust(_STRINGS, b"\0") + body

    # --- data ---------------------------------------------------------------

    def _add_strings(self) -> None:
        for label in self._random.sample(LABELS, len(LABELS)):
            self._strings += self._random.randbytes(3).hex().encode()
            self._at[label] = BASE + _STRINGS + len(self._strings)
            self._strings += label.encode()
        if self._shape.beside_c:
            self._strings += b"\0".join(label.encode() for label in LABELS)
        self._strings += bytes(8 - len(self._strings) % 8)

    def _add_words(self, words: list[int], width: str = "Q") -> int:
        at = BASE + _STRINGS + len(self._strings)
        self._strings += struct.pack(f"<{len(words)}{width}", *words)
        self._strings += bytes(-len(self._strings) % 8)
        return at

    # --- code ---------------------------------------------------------------

    @property
    def _here(self) -> int:
        return BASE + _CODE + len(self._code)

    def _relative(self, opcode: bytes, target: int) -> None:
        distance = target - (self._here + len(opcode) + 4)
        self._code += opcode + struct.pack("<i", distance)

    def _call(self, method: bytes) -> None:
        if self._shape.direct:
            self._relative(b"\xe8", BASE + _CODE)
        else:
            self._code += method

    def _label(self, label: str) -> None:
        shape = self._shape
        self._relative(_LEA_RSI, self._at[label] + shape.reference_shift)
        length = (len(label) + shape.len_shift) & 0xFFFFFFFF
        self._code += _MOV_EDX + struct.pack("<I", length)

    def _add_secret(self, label: str) -> None:
        """Add the code for one secret, with its label in the instructions."""
        name = self._random.choice(sorted(_OBJECTS))
        self._code += b"\x90" * self._random.randrange(4)
        self._label(label)
        self._code += _OBJECTS[name]
        self._call(_WILL_LOG)
        secret = 8 * self._random.randrange(2, 8)
        random_at = secret + 80
        self._add_log(label, name, secret, random_at)
        self._add_site(label, None, random_at, secret)

    def _add_log(self, label: str, name: str, secret: int, random_at: int) -> None:
        shape = self._shape
        if shape.len_from == "register":
            self._load_len(b"\x4c\x8b\x9c\x24", b"\x41\xbb", secret)  # r11
        self._code += shape.tests
        self._jumps.append(self._here)
        skip = len(self._code) + 1
        self._code += b"\x74\0"  # je, over the call
        self._add_len(secret)
        if label:
            others = [each for each in _TRAFFIC if each != label]
            self._label(self._random.choice(others) if shape.other_label else label)
        else:
            self._code += b"\x4c\x89\xe6\x4c\x89\xfa"  # mov rsi, r12; mov rdx, r15
        if shape.other_object:
            name = next(each for each in _OBJECTS if each != name)
        self._code += _OBJECTS[name]
        self._code += b"\x48\x8b\x8c\x24" + struct.pack("<i", random_at)
        self._code += _MOV_R8D + struct.pack("<I", shape.random_len)
        if shape.len_from != "function":
            self._code += b"\x4c\x8d\x8c\x24" + struct.pack("<i", secret)
        self._call(_LOG)
        self._code[skip] = len(self._code) - skip - 1

    def _add_len(self, secret: int) -> None:
        """Add the code that passes the length of a secret."""
        if self._shape.len_from == "function":
            self._code += b"\x48\x8d\xbc\x24" + struct.pack("<i", secret)  # lea rdi
            self._relative(b"\xff\x15", self._as_slice)  # call [rip+distance]
            self._code += b"\x48\x89\x14\x24\x49\x89\xc1"  # mov [rsp], rdx; r9, rax
            return
        is_in_register = self._shape.len_from == "register"
        if not is_in_register:
            self._load_len(b"\x48\x8b\x84\x24", b"\xb8", secret)  # rax
        # Compare r11 or rax to 65.
        self._code += b"\x49\x83\xfb\x41" if is_in_register else b"\x48\x83\xf8\x41"
        self._relative(b"\x0f\x83", BASE + _CODE)  # jae: panic
        # Store r11 or rax to [rsp].
        self._code += b"\x4c\x89\x1c\x24" if is_in_register else b"\x48\x89\x04\x24"

    def _load_len(self, load: bytes, constant: bytes, secret: int) -> None:
        if self._shape.constant_len:
            self._code += constant + b"\x30\0\0\0"
        else:
            self._code += load + struct.pack("<i", secret + 64)

    def _add_table(self) -> None:
        """Add the code for any secret, with its label in a table."""
        shape = self._shape
        order = self._random.sample(_TRAFFIC, len(_TRAFFIC))
        sizes = [max(len(label) + shape.len_shift, 0) for label in order]
        width = "B" if shape.byte_lens else "Q"
        lengths = self._add_words([min(size, 255) for size in sizes], width)
        places = [self._at[label] + shape.reference_shift for label in order]
        table = self._add_words(places) + 8 * shape.entry_shift
        loads = _BYTE_LOADS if shape.byte_lens else self._random.choice(_LOADS)
        to_r15, to_r12 = loads
        self._relative(_LEA_RCX, lengths)
        self._code += to_r15
        self._relative(_LEA_RCX, table)
        self._code += to_r12
        self._code += _OBJECTS["rbx"] + b"\x4c\x89\xe6\x4c\x89\xfa"
        self._call(_WILL_LOG)
        self._add_log("", "rbx", 16, 96)
        label = Path("r12", (0,)), Number(Path("r15", ()), 8)
        self._add_site(*label, 96, 16)

    def _add_master_secret(self) -> None:
        """Add the call of TLS 1.2, for which nobody is asked."""
        self._code += b"\x4c\x8d\x4c\x24\x20\x4c\x89\xf9"  # lea r9, [rsp+32]; mov rcx
        self._code += b"\x48\xc7\x04\x24\x30\0\0\0"  # mov qword [rsp], 48
        self._label("CLIENT_RANDOM")
        self._code += _MOV_R8D + struct.pack("<I", self._shape.random_len)
        at = self._here
        self._call(_LOG)
        paths = Path("rcx", (0,)), Path("r9", (0,)), Number(Path("rsp", (0,)), 8)
        offset = at - BASE
        self.sites.add(Site(at, offset, "line", "CLIENT_RANDOM", None, *paths))

    def _add_site(
        self, label: str | Path, size: Number | None, random_at: int, secret: int
    ) -> None:
        at = self._jumps[-1]
        paths = Path("rsp", (random_at, 0)), Path("rsp", (secret,))
        is_in_register = self._shape.len_from == "register"
        place = Path("r11", ()) if is_in_register else Path("rsp", (secret + 64,))
        length = Number(place, 8)
        self.sites.add(Site(at, at - BASE, "line", label, size, *paths, length))
