"""An interpreter for the eBPF instructions of capture filters (tccap.filter.ebpf).

Pointers are numbers: each region of memory has an address of its own.
"""

import struct
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tccap.bpf import assembler as bpf
from tccap.bpf.objects import INSTRUCTION
from tccap.bpf.uapi import LD_IMM64
from tccap.filter import ebpf

FRAME, INPUT, HEAD, SKB = 0x10000, 0x20000, 0x30000, 0x40000
_STEPS_MAX = 1_000_000
_U64 = (1 << 64) - 1

_COMPARISONS: dict[int, Callable[[int, int], bool]] = {
    bpf.JEQ: lambda a, b: a == b,
    bpf.JGT: lambda a, b: a > b,
    bpf.JGE: lambda a, b: a >= b,
    bpf.JSET: lambda a, b: bool(a & b),
    bpf.JNE: lambda a, b: a != b,
    bpf.JSGT: lambda a, b: (a ^ 1 << 63) > (b ^ 1 << 63),
}
_ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    bpf.ADD: lambda a, b: a + b,
    bpf.SUB: lambda a, b: a - b,
    bpf.MUL: lambda a, b: a * b,
    bpf.DIV: lambda a, b: a // b,
    bpf.OR: lambda a, b: a | b,
    bpf.AND: lambda a, b: a & b,
    bpf.LSH: lambda a, b: a << b,
    bpf.RSH: lambda a, b: a >> b,
    bpf.NEG: lambda a, _: -a,
    bpf.MOD: lambda a, b: a % b,
    bpf.XOR: lambda a, b: a ^ b,
    bpf.MOV: lambda _, b: b,
}


class Machine:
    """Memory and registers.

    The head shows `linear_len` bytes of `frame`. `inputs` are members of struct
    filter_input by their offsets; its length is that of the frame.
    """

    def __init__(
        self,
        frame: bytes = b"",
        linear_len: int | None = None,
        inputs: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self._frame = frame
        shown = frame[:linear_len]
        pointers = (0, 0, 0, 0, SKB, HEAD, HEAD + len(shown), INPUT)
        numbers = bytearray(ebpf.VERDICTS + ebpf.VERDICTS_MAX)
        for offset, number in {ebpf.LEN: len(frame), **inputs}.items():
            struct.pack_into("=Q", numbers, offset, number)
        self._memory = {
            FRAME: bytearray(struct.pack("=8Q", *pointers)),
            INPUT: numbers,
            HEAD: bytearray(shown),
        }
        self.steps = 0

    def run(self, code: bytes) -> int:
        """Return what the function returns; it has to keep registers 6 to 9."""
        registers = [0xBAD0 + number for number in range(10)]
        registers[1] = FRAME
        insns = list(INSTRUCTION.iter_unpack(code))
        at = 0
        while insns[at][0] != bpf.JMP | bpf.EXIT:
            self.steps += 1
            assert self.steps < _STEPS_MAX
            at = self._step(insns, at, registers)
        assert registers[6:] == [0xBAD6, 0xBAD7, 0xBAD8, 0xBAD9]
        return registers[0]

    def _step(
        self, insns: list[tuple[int, int, int, int]], at: int, r: list[int]
    ) -> int:
        code, which, offset, number = insns[at]
        to, by = which & 15, which >> 4
        if code == LD_IMM64:
            r[to] = number & 0xFFFFFFFF | (insns[at + 1][3] & 0xFFFFFFFF) << 32
            return at + 2
        if code == bpf.JMP | bpf.CALL:
            self._load_bytes(r)
        elif code in bpf.LOADS.values():
            size = next(size for size, op in bpf.LOADS.items() if op == code)
            r[to] = int.from_bytes(self._at(r[by] + offset, size), sys.byteorder)
        elif code in bpf.STORES.values():
            size = next(size for size, op in bpf.STORES.items() if op == code)
            self._put(r[to] + offset, r[by].to_bytes(8, sys.byteorder)[:size])
        elif code == bpf.TO_BIG_ENDIAN:
            r[to] = int.from_bytes(r[to].to_bytes(8, "little")[: number // 8], "big")
        else:
            return at + 1 + offset * _calculate(code, r, to, by, number)
        return at + 1

    def _load_bytes(self, r: list[int]) -> None:
        data = self._frame[r[2] : r[2] + r[4]]
        r[0] = int(len(data) < r[4])
        self._put(r[3], data)
        r[1:6] = [0xBAD] * 5

    def _at(self, address: int, size: int) -> bytes:
        start = address & 0xFFFF
        data = self._memory[address - start][start : start + size]
        assert len(data) == size
        return bytes(data)

    def _put(self, address: int, data: bytes) -> None:
        start = address & 0xFFFF
        self._memory[address - start][start : start + len(data)] = data


def _calculate(code: int, r: list[int], to: int, by: int, number: int) -> bool:
    """Do arithmetic, or return whether a jump is taken."""
    kind, operation = code & 7, code & 0xF0
    mask = 0xFFFFFFFF if kind in (bpf.ALU32, bpf.JMP32) else _U64
    a, b = r[to] & mask, (r[by] if code & bpf.BY_REGISTER else number) & mask
    if kind in (bpf.JMP, bpf.JMP32):
        return operation == bpf.JA or _COMPARISONS[operation](a, b)
    r[to] = _ARITHMETIC[operation](a, b) & mask
    return False
