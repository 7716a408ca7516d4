"""Callbacks that clang's control-flow integrity lets be one function only.

In a program built with ``-fsanitize=cfi-icall``, such as Chromium, code compares a
pointer with the one function of the program that fits, and traps if it is another one.
Otherwise it calls the function directly. So a run with a fake pointer ends in the trap.
"""

from dataclasses import dataclass

from capstone import x86

from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    Operand,
    is_call,
    is_conditional,
    is_jump,
    register_name,
)
from tccap.tls.finder.guards import successors
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import REGISTERS, Machine
from tccap.tls.sites import Path

_STEPS_MAX = 12  # from the check to the call
_RUN_LEN = 3  # comparison, jump, trap (unless that is elsewhere)


@dataclass(frozen=True)
class Check:
    """A check that a run has failed: ``pointer`` must be the function ``allowed``."""

    pointer: Path
    allowed: int
    call: int  # the address of the call behind it


def failed(
    image: Image, decoder: Decoder, machine: Machine, run: list[int]
) -> Check | None:
    """Return the check that a machine, stopped after these instructions, has failed."""
    last = list(filter(None, (decoder.at(at) for at in run[-_RUN_LEN:])))
    jump = next((n for n, each in enumerate(last) if is_conditional(each)), 0)
    if jump == 0 or last[jump - 1].id != x86.X86_INS_CMP:
        return None
    comparison = last[jump - 1]
    passed = [at for at in successors(last[jump]) if not _is_trap(decoder.at(at))]
    if len(passed) != 1:
        return None
    call = _next_call(decoder, passed[0])
    pointers = [_pointer(machine, comparison, each) for each in comparison.operands]
    values = [_function(image, machine, comparison, e) for e in comparison.operands]
    for pointer, allowed in zip(pointers, reversed(values), strict=True):
        if pointer and allowed is not None and call is not None:
            return Check(pointer, allowed, call)
    return None


def _is_trap(instruction: Instruction | None) -> bool:
    traps = (x86.X86_INS_UD1, x86.X86_INS_UD2, x86.X86_INS_INT3)
    return instruction is not None and instruction.id in traps


def _pointer(
    machine: Machine, instruction: Instruction, operand: Operand
) -> Path | None:
    """Return the path to the word of a fake that is compared."""
    if operand.type == x86.X86_OP_MEM:
        address = machine.address_of(instruction, operand)
        return machine.fakes.path_to(address) if address is not None else None
    value = _register(machine, instruction, operand)
    return machine.fakes.path_of_word(value) if value is not None else None


def _function(
    image: Image, machine: Machine, instruction: Instruction, operand: Operand
) -> int | None:
    """Return the address of the image's code that is compared."""
    value = _register(machine, instruction, operand)
    is_code = value is not None and image.elf.is_code(value - machine.bias)
    return value - machine.bias if value is not None and is_code else None


def _register(
    machine: Machine, instruction: Instruction, operand: Operand
) -> int | None:
    if operand.type != x86.X86_OP_REG:
        return None
    name = register_name(instruction, operand.reg)
    return machine.register(name) if name in REGISTERS else None


def _next_call(decoder: Decoder, at: int) -> int | None:
    """Return the next call; None if something branches before it."""
    for _ in range(_STEPS_MAX):
        instruction = decoder.at(at)
        if instruction is None or is_jump(instruction):
            return None
        if is_call(instruction):
            return at
        at += instruction.size
    return None
