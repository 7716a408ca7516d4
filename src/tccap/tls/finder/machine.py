"""Running one function of a program in isolation, on an emulated processor (Unicorn).

The program's own pages are mapped when they are touched. Imported functions return
zero, except those in `stubs`. A run ends when the function returns, when it calls
through a pointer in a fake object (`memory`), or after _BLOCKS_MAX basic blocks.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import unicorn
from capstone.x86 import X86_REG_RIP
from unicorn import x86_const as x86

from tccap.tls.finder import vectors
from tccap.tls.finder.code import Decoder, Instruction, Operand, memory_registers
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.image import Image
from tccap.tls.finder.memory import PAGE_LEN, WORD, Fakes
from tccap.tls.finder.symbols import Import
from tccap.tls.sites import Path

REGISTERS = {
    name: getattr(x86, f"UC_X86_REG_{name.upper()}")
    for name in (
        *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
        *(f"r{n}" for n in range(8, 16)),
    )
}
# All below the fakes; the image ends at twice elf.ADDRESS_LIMIT at most.
_BIAS = 0x100_0000_0000
_STUBS, _STUBS_LEN = 0x300_0000_0000, 0x10000
_HEAP, _HEAP_LEN = 0x400_0000_0000, 0x400000
_STACK, _STACK_LEN = 0x500_0000_0000, 0x40000
_THREAD, _THREAD_LEN = 0x600_0000_0000, 0x10000
_END, _END_LEN = 0x700_0000_0000, PAGE_LEN
_RETURN = b"\xc3"
_STUB_LEN = 16
_JUMP, _MOV_RAX, _JMP_RAX = struct.Struct("<2sQ2s"), b"\x48\xb8", b"\xff\xe0"
_BLOCKS_MAX = 40_000
_PAGES_MAX = 2048
_TRANSLATIONS_LEN = 16 << 20  # unicorn would reserve a GiB
_ALLOCATION_LEN_MAX = 1 << 18
_STRING_LEN_MAX = 512

Stub = Callable[["Machine"], int]


@dataclass(frozen=True)
class Callback:
    """A call through a pointer in a fake object, with its arguments."""

    pointer: Path | None  # the path to it
    arguments: tuple[int, ...]


class Machine:
    """An emulated processor with its memory, for one run."""

    def __init__(
        self,
        image: Image,
        stubs: dict[bytes, Stub],
        replaced: Mapping[int, Stub] | None = None,
        words: Mapping[Path, int] | None = None,
    ) -> None:
        """Make a machine.

        ``replaced`` maps addresses of functions to the stubs that run in their place.
        ``words`` has the numbers that words of fakes hold.
        """
        self.fakes = Fakes(words)
        self.callback: Callback | None = None
        self.has_returned = False
        instead = {b"(%x)" % at: stub for at, stub in (replaced or {}).items()}
        self._image, self._stubs = image, stubs | instead
        self._names: list[bytes] = []
        self._detours = self._make_detours(replaced or {})
        self.bias = _BIAS if image.elf.is_relocatable else 0
        self._mapped: set[int] = set()
        self.written: set[int] = set()  # addresses of bytes (`record_writes`)
        self._records_writes = False
        self._blocks = 0
        self._decoder = Decoder(image.elf)
        self._with_vectors: dict[int, bool] = {}  # blocks
        self._stopped_before = range(0)  # such a block
        self._steps = False
        self._heap_used = 0
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._uc.ctl_set_tcg_buffer_size(_TRANSLATIONS_LEN)
        self._map_areas()
        self._add_hooks()

    # --- running ------------------------------------------------------------

    def call(
        self,
        function: int,
        arguments: Sequence[int | bytes | None],
        until: int | None = None,
    ) -> None:
        """Run a function of the image until it returns, or up to ``until``.

        Of the arguments, None becomes a fake object, and bytes the address of a string.
        """
        for register, argument in zip(ARGUMENTS, arguments, strict=False):
            if argument is None:
                self.set_register(register, self.fakes.make(register))
            elif isinstance(argument, bytes):
                self.set_register(register, self.new_bytes(argument + b"\0"))
            else:
                self.set_register(register, argument)
        top = _STACK + _STACK_LEN // 2 - WORD.size
        self._uc.mem_write(top, WORD.pack(_END))
        self.set_register("rsp", top)
        end = _END if until is None else until + self.bias
        self.has_returned = self.run(function, end)

    def run(self, start: int, end: int) -> bool:
        """Run from an address of the image; return whether ``end`` was reached."""
        self._uc.reg_write(x86.UC_X86_REG_RIP, start + self.bias)
        while self._at() != end:
            self._stopped_before = range(0)
            try:
                self._uc.emu_start(self._at(), end)
            except unicorn.UcError:
                # Some vector instructions are refused, most are taken for others.
                self._stopped_before = range(self._at(), self._at() + 1)
                if not self._vector_at(self._at() - self.bias):
                    return False
            if not self._stopped_before:
                break
            if not self._run_vectors(end):
                return False
        return self._at() == end

    def _run_vectors(self, end: int) -> bool:
        """Run a block with vector instructions; return whether that is possible."""
        # What was translated for running at full speed cannot be stopped within.
        self._uc.ctl_flush_tb()
        while self._at() in self._stopped_before and self._at() != end:
            if self.step(self._at() - self.bias) is None:
                return False
        return True

    def _at(self) -> int:
        return int(self._uc.reg_read(x86.UC_X86_REG_RIP))

    def step(self, at: int) -> int | None:
        """Run one instruction of the image; return the next address, or None."""
        instruction = self._vector_at(at)
        if instruction:
            if not vectors.run(self, instruction):
                return None
            self._uc.reg_write(
                x86.UC_X86_REG_RIP, at + self.bias + int(instruction.size)
            )
            return self._at() - self.bias
        self._steps = True
        try:
            self._uc.emu_start(at + self.bias, 0, count=1)
        except unicorn.UcError:
            return None
        finally:
            self._steps = False
        return self._at() - self.bias

    def trace(self, start: int, end: int) -> list[int]:
        """Return a list that records each instruction run in [start, end)."""
        run: list[int] = []
        self._uc.hook_add(
            unicorn.UC_HOOK_CODE,
            lambda _uc, address, _size, _: run.append(address - self.bias),
            begin=start + self.bias,
            end=end + self.bias - 1,
        )
        return run

    def record_writes(self) -> None:
        """Remember from now on which bytes are written (`written`)."""
        self._records_writes = True
        self._uc.hook_add(
            unicorn.UC_HOOK_MEM_WRITE,
            lambda _uc, _access, address, size, _value, _: self.written.update(
                range(address, address + size)
            ),
        )

    # --- registers and memory -----------------------------------------------

    def register(self, name: str) -> int:
        """Return the value of a register."""
        return int(self._uc.reg_read(REGISTERS[name]))

    def set_register(self, name: str, value: int) -> None:
        """Set the value of a register."""
        self._uc.reg_write(REGISTERS[name], value)

    def argument(self, number: int) -> int:
        """Return an argument of the function that has just been called."""
        return self.register(ARGUMENTS[number])

    def word(self, address: int) -> int | None:
        """Return a word of memory; None if it cannot be read."""
        content = self.read(address, WORD.size)
        return int(WORD.unpack(content)[0]) if content else None

    def follow(self, path: Path) -> int | None:
        """Return the address that a path leads to; None if it cannot be followed."""
        value = self.register(path.register)
        for offset in path.offsets[:-1]:
            word = self.word(value + offset)
            if word is None:
                return None
            value = word
        return value + (path.offsets or (0,))[-1]

    def address_of(self, instruction: Instruction, operand: Operand) -> int | None:
        """Return the address of an operand [register + distance]; else None."""
        registers = memory_registers(instruction, operand)
        if len(registers) != 1 or registers[0] not in REGISTERS:
            return None
        return int(self.register(registers[0]) + operand.mem.disp)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of memory; empty if any of it cannot be mapped."""
        first = address - address % PAGE_LEN
        pages = range(first, address + size, PAGE_LEN)
        if size > _ALLOCATION_LEN_MAX or not all(map(self._map, pages)):
            return b""
        return bytes(self._uc.mem_read(address, size))

    def write(self, address: int, content: bytes) -> bool:
        """Write to memory, unless it cannot be mapped; return whether it can be."""
        if len(self.read(address, len(content))) != len(content):
            return False
        self._uc.mem_write(address, content)
        return True

    def store(self, address: int, content: bytes) -> bool:
        """Write as an instruction does; return whether the memory can be mapped."""
        is_mapped = self.write(address, content)
        if is_mapped and self._records_writes:
            self.written.update(range(address, address + len(content)))
        return is_mapped

    def vector(self, number: int) -> bytes:
        """Return the 32 bytes of a register ymm."""
        value = int(self._uc.reg_read(x86.UC_X86_REG_YMM0 + number))
        return value.to_bytes(vectors.WHOLE_LEN, "little")

    def set_vector(self, number: int, content: bytes) -> None:
        """Set the 32 bytes of a register ymm."""
        value = int.from_bytes(content, "little")
        self._uc.reg_write(x86.UC_X86_REG_YMM0 + number, value)

    def effective(self, instruction: Instruction, operand: Operand) -> int | None:
        """Return the address of any operand in memory; None if that is not known."""
        memory = operand.mem
        address = int(memory.disp)
        if memory.base == X86_REG_RIP:
            address += int(instruction.address + instruction.size) + self.bias
        names = memory_registers(instruction, operand)
        if memory.segment or not {*names} <= {*REGISTERS, "rip"}:
            return None
        if memory.base and memory.base != X86_REG_RIP:
            address += self.register(names[0])
        if memory.index:
            address += self.register(names[-1]) * int(memory.scale)
        return address & (1 << 64) - 1

    def string(self, address: int) -> bytes:
        """Return the bytes at an address up to a NUL, _STRING_LEN_MAX at most."""
        found = b""
        while len(found) < _STRING_LEN_MAX:
            place = address + len(found)
            part = self.read(place, PAGE_LEN - place % PAGE_LEN)
            text, nul, _ = part.partition(b"\0")
            found += text
            if nul or not part:
                break
        return found[:_STRING_LEN_MAX]

    def allocate(self, size: int) -> int:
        """Return the address of new memory, as malloc does; 0 if there is none left."""
        size = min(max(size, 1), _ALLOCATION_LEN_MAX)
        if self._heap_used + size > _HEAP_LEN:
            return 0
        address = _HEAP + self._heap_used
        self._heap_used += size + 31 & ~15
        return address

    def is_new(self, address: int) -> bool:
        """Return whether an address is in memory from `allocate`."""
        return _HEAP <= address < _HEAP + self._heap_used

    def new_bytes(self, content: bytes) -> int:
        """Return the address of new memory with this content."""
        address = self.allocate(len(content))
        self._uc.mem_write(address, content)
        return address

    def called_functions(self) -> list[int]:
        """Return the functions on the call stack, the innermost first."""
        found = []
        elf = self._image.elf
        top = _STACK + _STACK_LEN // 2 - WORD.size
        for place in range(self.register("rsp") & ~7, top, WORD.size):
            content = self.read(place, WORD.size)
            back = WORD.unpack(content)[0] - self.bias if content else 0
            call = elf.read(back - 5, 5)
            if elf.is_code(back) and call[:1] == b"\xe8":
                found.append(back + int.from_bytes(call[1:], "little", signed=True))
        return found

    # --- memory map and hooks -----------------------------------------------

    def _map_areas(self) -> None:
        areas = (
            (_STUBS, _STUBS_LEN),
            (_HEAP, _HEAP_LEN),
            (_STACK, _STACK_LEN),
            (_THREAD, _THREAD_LEN),
            (_END, _END_LEN),
        )
        for start, size in areas:
            self._uc.mem_map(start, size)
            self._mapped |= set(range(start, start + size, PAGE_LEN))
        self._uc.mem_write(_STUBS, _RETURN * _STUBS_LEN)
        middle = _THREAD + _THREAD_LEN // 2
        self._uc.reg_write(x86.UC_X86_REG_FS_BASE, middle)
        self._uc.mem_write(middle, WORD.pack(middle))  # psABI: %fs:0 is its own address

    def _add_hooks(self) -> None:
        hooks = (
            (unicorn.UC_HOOK_MEM_UNMAPPED, self._on_unmapped),
            (unicorn.UC_HOOK_MEM_FETCH_PROT, self._on_unmapped),
            (unicorn.UC_HOOK_BLOCK, self._on_block),
        )
        for kind, hook in hooks:
            self._uc.hook_add(kind, hook)
        self._uc.hook_add(
            unicorn.UC_HOOK_CODE, self._on_stub, begin=_STUBS, end=_STUBS + _STUBS_LEN
        )

    def _on_unmapped(
        self,
        _uc: object,
        access: int,
        address: int,
        size: int,
        _value: int,
        _data: object,
    ) -> bool:
        fetches = (unicorn.UC_MEM_FETCH_UNMAPPED, unicorn.UC_MEM_FETCH_PROT)
        if access in fetches and self.fakes.holds(address):
            self.callback = Callback(
                self.fakes.path_of_word(address),
                tuple(self.argument(n) for n in range(len(ARGUMENTS))),
            )
            return False
        pages = range(address - address % PAGE_LEN, address + size, PAGE_LEN)
        return all(map(self._map, pages))

    def _on_block(self, uc: unicorn.Uc, address: int, size: int, _: object) -> None:
        self._blocks += 1
        if self._blocks > _BLOCKS_MAX:
            uc.emu_stop()
        elif not self._steps and self._has_vectors(address - self.bias, size):
            self._stopped_before = range(address, address + size)
            uc.emu_stop()

    def _has_vectors(self, at: int, size: int) -> bool:
        """Return whether a block has instructions that are not emulated."""
        if at not in self._with_vectors:
            code = self._image.elf.read(at, size)
            may_have = any(byte in code for byte in vectors.VEX)
            self._with_vectors[at] = may_have and self._decodes_vector(at, size)
        return self._with_vectors[at]

    def _decodes_vector(self, at: int, size: int) -> bool:
        end = at + size
        while at < end and (instruction := self._decoder.at(at)):
            if vectors.is_vector(instruction):
                return True
            at += instruction.size
        return False

    def _vector_at(self, at: int) -> Instruction | None:
        first = self._image.elf.read(at, 1)
        if not first or first not in vectors.VEX:
            return None
        instruction = self._decoder.at(at)
        return instruction if instruction and vectors.is_vector(instruction) else None

    def _on_stub(self, _uc: object, address: int, _size: int, _: object) -> None:
        place, rest = divmod(address - _STUBS, _STUB_LEN)
        if rest == 0 and place < len(self._names):
            self._run_stub(self._names[place])

    def _run_stub(self, name: bytes) -> None:
        stub = self._stubs.get(name)
        self.set_register("rax", stub(self) & (1 << 64) - 1 if stub else 0)

    def _map(self, page: int) -> bool:
        """Map the page at an address: of a fake object, or of the image."""
        if page in self._mapped:
            return True
        if len(self._mapped) > _PAGES_MAX:
            return False
        content, rights = self.fakes.page(page), unicorn.UC_PROT_READ
        if content is None:
            content, rights = self._image_page(page - self.bias), unicorn.UC_PROT_EXEC
        if content is None:
            return False
        both = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        self._uc.mem_map(page, PAGE_LEN, both | rights)
        self._uc.mem_write(page, content)
        self._mapped.add(page)
        return True

    def _image_page(self, page: int) -> bytes | None:
        """Return a page of the image with relocations applied and stubs in place."""
        found = self._image.elf.page(page, PAGE_LEN)
        if found is None:
            return None
        content = bytearray(found)
        relocations, last = self._image.relocations, page + PAGE_LEN - WORD.size
        for slot, address in relocations.own_words(page, last + 1):
            [there] = WORD.unpack_from(content, slot - page)
            value = (there if address is None else address) + self.bias
            WORD.pack_into(content, slot - page, value & (1 << 64) - 1)
        for word in relocations.imports(page, last + 1):
            WORD.pack_into(content, word.slot - page, self._address_of(word))
        for function, stub in self._detours.items():
            code = _JUMP.pack(_MOV_RAX, stub, _JMP_RAX)
            low, high = max(function, page), min(function + len(code), page + PAGE_LEN)
            if low < high:
                content[low - page : high - page] = code[
                    low - function : high - function
                ]
        return bytes(content)

    def _make_detours(self, replaced: Mapping[int, Stub]) -> dict[int, int]:
        """Return function -> stub's address, for functions of the image to replace."""
        found = {function: self._stub(b"(%x)" % function) for function in replaced}
        for name in self._stubs:
            if name in self._image.symbols.address:
                found[self._image.symbols.address[name]] = self._stub(name)
        return found

    def _address_of(self, word: Import) -> int:
        """Return the address that the word of an import gets."""
        if word.name not in self._stubs and word.own:
            return word.own + self.bias
        if word.name not in self._stubs and word.is_weak:
            return 0
        return self._stub(word.name)

    def _stub(self, name: bytes) -> int:
        if name not in self._names:
            self._names.append(name)
        if len(self._names) * _STUB_LEN > _STUBS_LEN:
            raise RefusedError("The code under test calls too many functions.")
        return _STUBS + self._names.index(name) * _STUB_LEN
