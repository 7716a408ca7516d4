"""Classic BPF: the instruction set of libpcap's compiler.

Source: bpf(4) of the BSDs and libpcap's own interpreter, `pcap_filter.c`. The
accumulator is A, the index register X, and there are sixteen scratch words M.
All arithmetic is on unsigned 32-bit numbers; loads are big-endian.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tccap.errors import TccapError

# The low three bits: the class of the instruction.
LD: Final = 0x00
LDX: Final = 0x01
ST: Final = 0x02
STX: Final = 0x03
ALU: Final = 0x04
JMP: Final = 0x05
RET: Final = 0x06
MISC: Final = 0x07

# Loads: how many bytes, and from where.
WORD: Final = 0x00
HALF: Final = 0x08
BYTE: Final = 0x10
IMM: Final = 0x00
ABS: Final = 0x20
IND: Final = 0x40
MEM: Final = 0x60
LEN: Final = 0x80
MSH: Final = 0xA0

# Arithmetic, jumps, and whether the operand is k, X or (for RET) A.
ADD: Final = 0x00
SUB: Final = 0x10
MUL: Final = 0x20
DIV: Final = 0x30
OR: Final = 0x40
AND: Final = 0x50
LSH: Final = 0x60
RSH: Final = 0x70
NEG: Final = 0x80
MOD: Final = 0x90
XOR: Final = 0xA0
JA: Final = 0x00
JEQ: Final = 0x10
JGT: Final = 0x20
JGE: Final = 0x30
JSET: Final = 0x40
K: Final = 0x00
X: Final = 0x08
A: Final = 0x10
TAX: Final = 0x00
TXA: Final = 0x80

SIZES: Final = {WORD: 4, HALF: 2, BYTE: 1}
SCRATCH_WORDS: Final = 16
# The longest text that libpcap gets, of ports alone, has 200,000.
MAX_INSNS: Final = 1 << 18


class FilterError(TccapError):
    """A capture filter that cannot be used, with the reason."""


class Insn(NamedTuple):
    """One instruction, as `struct bpf_insn` has it (k is unsigned)."""

    code: int
    jt: int
    jf: int
    k: int

    @property
    def kind(self) -> int:
        """The instruction class: LD, LDX, ST, STX, ALU, JMP, RET or MISC."""
        return self.code & 0x07

    @property
    def size(self) -> int:
        """The number of bytes that a load from the packet reads: 1, 2 or 4."""
        return SIZES[self.code & 0x18]

    @property
    def mode(self) -> int:
        """The source of a load: IMM, ABS, IND, MEM, LEN or MSH."""
        return self.code & 0xE0

    @property
    def operation(self) -> int:
        """The operation of an ALU or JMP instruction."""
        return self.code & 0xF0

    @property
    def takes_x(self) -> bool:
        """Whether the operand of an ALU or JMP instruction is X."""
        return bool(self.code & X)


Program = tuple[Insn, ...]

_LOADS: Final = {size | mode for size in SIZES for mode in (ABS, IND)}
_VALID: Final = frozenset(
    {LD | load for load in _LOADS}
    | {LD | IMM, LD | MEM, LD | WORD | LEN}
    | {LDX | IMM, LDX | MEM, LDX | WORD | LEN, LDX | BYTE | MSH}
    | {ST, STX, ALU | NEG, JMP | JA, RET | K, RET | A, MISC | TAX, MISC | TXA}
    | {
        ALU | operation | source
        for operation in (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR)
        for source in (K, X)
    }
    | {
        JMP | operation | source
        for operation in (JEQ, JGT, JGE, JSET)
        for source in (K, X)
    }
)


def successors(at: int, insn: Insn) -> tuple[int, ...]:
    """Return the indices of the instructions that may follow the one at index `at`."""
    if insn.kind == RET:
        return ()
    if insn.kind != JMP:
        return (at + 1,)
    if insn.operation == JA:
        # libpcap's loops over IPv6 header chains jump back: k is signed here.
        return (at + 1 + (insn.k ^ 0x8000_0000) - 0x8000_0000,)
    return (at + 1 + insn.jt, at + 1 + insn.jf)


def check(program: Sequence[Insn]) -> None:
    """Raise FilterError unless each instruction is one that tccap translates."""
    if not 0 < len(program) <= MAX_INSNS:
        raise FilterError(
            f"The capture filter has {len(program)} instructions; "
            f"1 to {MAX_INSNS} are possible."
        )
    for fault in _faults(program):
        raise FilterError(f"The capture filter cannot run in the kernel: {fault}.")


def _faults(program: Sequence[Insn]) -> Iterator[str]:
    for at, insn in enumerate(program):
        if insn.code not in _VALID:
            yield f"instruction {at} is unknown ({insn.code:#04x})"
        if not all(0 <= to < len(program) for to in successors(at, insn)):
            yield f"instruction {at} jumps out of the program"
        if is_scratch(insn) and insn.k >= SCRATCH_WORDS:
            yield f"instruction {at} uses scratch word {insn.k} of {SCRATCH_WORDS}"
        # On Linux, loads at "negative" offsets (SKF_AD_OFF) read metadata.
        if insn.kind == LD and insn.mode == ABS and insn.k >= 0x8000_0000:
            yield f"instruction {at} reads data outside the packet"


def is_scratch(insn: Insn) -> bool:
    """Return whether k is the number of a scratch word."""
    return insn.kind in (ST, STX) or (insn.kind in (LD, LDX) and insn.mode == MEM)
