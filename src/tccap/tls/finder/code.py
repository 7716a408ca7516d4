"""Machine code: instructions, the targets of branches, and operands."""

from typing import Any

import capstone
from capstone import x86

from tccap.tls.finder.elf import Elf

INSTRUCTION_LEN_MAX = 15
_STACK = ("rsp", "rbp")

Instruction = Any  # capstone.CsInsn, which has no published types
Operand = Any
Place = str | tuple[str, int]  # a register, or a slot of the stack


class Decoder:
    """Decodes the instructions of a file, each once."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._capstone = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._capstone.detail = True
        self._known: dict[int, Instruction | None] = {}

    def at(self, address: int) -> Instruction | None:
        """Return the instruction at an address; None if there is no valid one."""
        if address not in self._known:
            code = self._elf.read(address, INSTRUCTION_LEN_MAX)
            found = self._capstone.disasm(code, address, 1)
            self._known[address] = next(found, None)
        return self._known[address]


def is_call(instruction: Instruction) -> bool:
    """Return whether this is a call."""
    return bool(instruction.group(capstone.CS_GRP_CALL))


def is_jump(instruction: Instruction) -> bool:
    """Return whether this is a jump, conditional or not."""
    return bool(instruction.group(capstone.CS_GRP_JUMP))


def is_conditional(instruction: Instruction) -> bool:
    """Return whether this is a conditional jump."""
    return is_jump(instruction) and instruction.id != x86.X86_INS_JMP


def is_end(instruction: Instruction) -> bool:
    """Return whether execution never goes on behind it: ret, hlt, ud2, int3."""
    ends = (x86.X86_INS_HLT, x86.X86_INS_UD2, x86.X86_INS_INT3)
    return bool(instruction.group(capstone.CS_GRP_RET)) or instruction.id in ends


def target_of(instruction: Instruction) -> int | None:
    """Return the target of a direct call or jump; None if it is indirect."""
    return constant_of(instruction)


def constant_of(instruction: Instruction) -> int | None:
    """Return the last operand, if it is an immediate."""
    operand = instruction.operands[-1] if instruction.operands else None
    if operand is None or operand.type != x86.X86_OP_IMM:
        return None
    return int(operand.imm)


def rip_target(instruction: Instruction) -> int | None:
    """Return the address of the last operand, if it is [rip + distance]."""
    operand = instruction.operands[-1] if instruction.operands else None
    if operand is None or operand.type != x86.X86_OP_MEM:
        return None
    if operand.mem.base != x86.X86_REG_RIP or operand.mem.index:
        return None
    return int(instruction.address + instruction.size + operand.mem.disp)


def memory_registers(instruction: Instruction, operand: Operand) -> list[str]:
    """Return base and index, if it has them, of an operand in memory."""
    if operand.type != x86.X86_OP_MEM:
        return []
    both = (operand.mem.base, operand.mem.index)
    return [register_name(instruction, register) for register in both if register]


def place_of(instruction: Instruction, operand: Operand) -> Place | None:
    """Return the register or stack slot of an operand; None if it is neither."""
    if operand.type == x86.X86_OP_REG:
        return register_name(instruction, operand.reg)
    if operand.type != x86.X86_OP_MEM or operand.mem.index:
        return None
    base = instruction.reg_name(operand.mem.base) if operand.mem.base else ""
    return (base, operand.mem.disp) if base in _STACK else None


def register_name(instruction: Instruction, register: int) -> str:
    """Return a register's 64-bit name."""
    name = str(instruction.reg_name(register))
    return _WHOLE.get(name, name)


def _whole_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for letter in "abcd":
        parts = (f"e{letter}x", f"{letter}x", f"{letter}l", f"{letter}h")
        names |= dict.fromkeys(parts, f"r{letter}x")
    for name in ("si", "di", "bp", "sp"):
        names |= dict.fromkeys((f"e{name}", name, f"{name}l"), f"r{name}")
    for n in range(8, 16):
        names |= dict.fromkeys((f"r{n}d", f"r{n}w", f"r{n}b"), f"r{n}")
    return names


_WHOLE = _whole_names()
