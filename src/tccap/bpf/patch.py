"""What is put into compiled programs when they are loaded: numbers, and functions.

The C (bpf/patch.h) marks the places. A number is the operand of an instruction that the
verifier knows, so it leaves out what the number makes impossible. A function takes the
place of a call: the call becomes a jump to it, and its return a jump back. So it needs
no calls between BPF functions, which old kernels refuse beside tail calls.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from tccap.bpf import objects
from tccap.bpf.objects import INSTRUCTION
from tccap.bpf.uapi import LD_IMM64

# bpf/patch.h: the upper half of a number to be replaced, the lower is its key; and what
# is added to the key of a function.
NUMBER_MARK: Final = 0x7CCA7CCA
FUNCTION_MARK: Final = 0x7CCA0000
KEY_MAX: Final = 0xFFFF

_CALL: Final = 0x85
_EXIT: Final = 0x95
_JUMP: Final = 0x05
_REACH: Final = 32767
# A function saves registers 6 to 9, and the verifier refuses to save what was not set.
_KEPT_REGISTERS_SET: Final = b"".join(
    INSTRUCTION.pack(0xB7, register, 0, 0) for register in range(6, 10)
)


class TooFarError(Exception):
    """A function cannot be reached by a jump."""


class Patches(NamedTuple):
    """By key: numbers of 64 bits, and instructions of functions.

    A function gets its argument in register 1 and returns its result in register 0; it
    keeps registers 6 to 9, and has no stack of its own.
    """

    numbers: Mapping[int, int] = MappingProxyType({})
    functions: Mapping[int, bytes] = MappingProxyType({})


NO_PATCHES: Final = Patches()


def patched(code: bytes, patches: Patches) -> bytes:
    """Return a program with numbers and functions at their places.

    KeyError for a place whose number or function is missing; TooFarError.
    """
    places = list(_functions(code))
    out = bytearray(code)
    for at, key in _numbers(code):
        _put_number(out, at, patches.numbers[key])
    for at, key in places:
        _put_function(out, at, patches.functions[key])
    return _KEPT_REGISTERS_SET + out if places else bytes(out)


def _numbers(code: bytes) -> Iterator[tuple[int, int]]:
    for at in objects.places(code, LD_IMM64):
        _, registers, _, lower = objects.instruction(code, at)
        *_, upper = objects.instruction(code, at + 1)
        if not registers >> 4 and upper == NUMBER_MARK:
            yield at, lower


def _functions(code: bytes) -> Iterator[tuple[int, int]]:
    for at in objects.places(code, _CALL):
        _, registers, _, number = objects.instruction(code, at)
        if not registers and number & ~KEY_MAX == FUNCTION_MARK:
            yield at, number & KEY_MAX


def _put_number(out: bytearray, at: int, number: int) -> None:
    start = at * INSTRUCTION.size
    op, registers, offset, _ = INSTRUCTION.unpack_from(out, start)
    lower, upper = objects.immediate(number), objects.immediate(number >> 32)
    INSTRUCTION.pack_into(out, start, op, registers, offset, lower)
    INSTRUCTION.pack_into(out, start + INSTRUCTION.size, 0, 0, 0, upper)


def _put_function(out: bytearray, at: int, function: bytes) -> None:
    start = len(out) // INSTRUCTION.size
    out += function
    _put_jump(out, at, start)
    for index in objects.places(function, _EXIT):
        _put_jump(out, start + index, at + 1)


def _put_jump(out: bytearray, at: int, to: int) -> None:
    offset = to - at - 1
    if abs(offset) > _REACH:
        raise TooFarError
    INSTRUCTION.pack_into(out, at * INSTRUCTION.size, _JUMP, 0, offset, 0)
