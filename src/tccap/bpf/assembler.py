"""eBPF instructions, written one after the other, with labels for jumps.

Encoding: include/uapi/linux/bpf.h. A jump reaches 32767 instructions. Longer programs
get *islands* between their instructions: jumps by which others reach their label.
"""

from typing import Final

from tccap.bpf.objects import INSTRUCTION, immediate
from tccap.bpf.uapi import LD_IMM64

# Instruction classes.
JMP: Final = 0x05
ALU64: Final = 0x07
ALU32: Final = 0x04
JMP32: Final = 0x06
BY_REGISTER: Final = 0x08
# Operations of ALU classes.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV = range(0x00, 0xC0, 0x10)
TO_BIG_ENDIAN: Final = 0xDC
# Operations of jump classes.
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, _, CALL, EXIT = range(0x00, 0xA0, 0x10)
LOADS: Final = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
STORES: Final = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}

_REACH: Final = 32767
# An island is placed this often. Between two of them a jump always reaches the next.
_ISLAND_EVERY: Final = 8192


class Label:
    """A place in the program that jumps lead to, once it is bound."""

    def __init__(self) -> None:
        self.at: int | None = None  # the place, or the nearest jump to it
        self.waiting: list[int] = []  # jumps forward to it
        self.is_used = False


class Assembler:
    """Appends instructions. `permanent` labels are reached from all that follows."""

    def __init__(self) -> None:
        self._insns: list[list[int]] = []
        self._permanent: list[Label] = []
        self._open: dict[Label, None] = {}  # with jumps that wait, the oldest first
        self._next_island = _ISLAND_EVERY

    def code(self) -> bytes:
        """Return the instructions; each label that was used has to be bound."""
        assert not self._open
        return b"".join(INSTRUCTION.pack(*insn) for insn in self._insns)

    def bind(self, label: Label, *, permanent: bool = False) -> None:
        """Let the label be the place of the next instruction.

        Register 0 may be lost there.
        """
        here = len(self._insns)
        self._resolve(label, here)
        label.at = here
        if permanent:
            self._permanent.append(label)
        if here >= self._next_island:
            self._next_island = here + _ISLAND_EVERY
            self._island()

    def jump(self, label: Label) -> None:
        """Append a jump."""
        self._jump(JMP | JA, 0, 0, label)

    def jump_if(
        self, operation: int, register: int, value: int, label: Label, kind: int = JMP32
    ) -> None:
        """Append a jump that is taken if the register compares so with a number."""
        self._jump(kind | operation, register, value, label)

    def jump_if_register(
        self, operation: int, register: int, other: int, label: Label, kind: int = JMP
    ) -> None:
        """Append a jump that is taken if two registers compare so."""
        self._jump(kind | operation | BY_REGISTER, register | other << 4, 0, label)

    def alu(self, operation: int, register: int, value: int, kind: int = ALU32) -> None:
        """Append arithmetic with a number of 32 bits; ALU64 extends its sign."""
        self._add(kind | operation, register, 0, value)

    def alu_register(
        self, operation: int, register: int, other: int, kind: int = ALU32
    ) -> None:
        """Append arithmetic with a register."""
        self._add(kind | operation | BY_REGISTER, register | other << 4, 0, 0)

    def set(self, register: int, value: int) -> None:
        """Append: register = value, which has 64 bits."""
        self._add(LD_IMM64, register, 0, value)
        self._insns.append([0, 0, 0, immediate(value >> 32)])

    def load(self, size: int, register: int, pointer: int, offset: int) -> None:
        """Append: register = *(uSIZE *)(pointer + offset)."""
        self._add(LOADS[size], register | pointer << 4, offset, 0)

    def store(self, size: int, pointer: int, offset: int, register: int) -> None:
        """Append: *(uSIZE *)(pointer + offset) = register."""
        self._add(STORES[size], pointer | register << 4, offset, 0)

    def to_host(self, register: int, size: int) -> None:
        """Append the conversion of a big-endian number of ``size`` bytes."""
        if size > 1:
            self._add(TO_BIG_ENDIAN, register, 0, 8 * size)

    def call(self, helper: int) -> None:
        """Append the call of one of the kernel's helpers."""
        self._add(JMP | CALL, 0, 0, helper)

    def exit(self) -> None:
        """Append the end of the function."""
        self._add(JMP | EXIT, 0, 0, 0)

    def _add(self, code: int, registers: int, offset: int, value: int) -> None:
        self._insns.append([code, registers, offset, immediate(value)])

    def _jump(self, code: int, registers: int, value: int, label: Label) -> None:
        self._add(code, registers, 0, value)
        self._refer(len(self._insns) - 1, label)

    def _refer(self, jump: int, label: Label) -> None:
        label.is_used = True
        if label.at is None:
            label.waiting.append(jump)
            self._open[label] = None
        else:
            self._set_target(jump, label.at)

    def _resolve(self, label: Label, to: int) -> None:
        for jump in label.waiting:
            self._set_target(jump, to)
        label.waiting.clear()
        self._open.pop(label, None)

    def _set_target(self, jump: int, to: int) -> None:
        offset = to - jump - 1
        assert -_REACH <= offset <= _REACH
        self._insns[jump][2] = offset

    def _island(self) -> None:
        """Continue the jumps that have not arrived; and those back that come later.

        The kernel refuses instructions that nothing leads to. The jumps back may stay
        unused, so each also follows a jump that is never taken.
        """
        behind = Label()
        self._add(ALU64 | MOV, 0, 0, 0)
        hops = [(Label(), label) for label in self._permanent]
        for hop, _ in hops:
            self.jump_if(JNE, 0, 0, hop, JMP)
        self.jump(behind)
        for hop, label in hops:
            self.bind(hop)
            self.jump(label)
            label.at = hop.at
        for label in [each for each in self._open if each is not behind]:
            here = len(self._insns)
            self._add(JMP | JA, 0, 0, 0)
            self._resolve(label, here)
            self._refer(here, label)
        self.bind(behind)
