"""AVX instructions, of which the emulated processor knows none.

It takes those with registers of 128 bits for those of SSE, which have one operand less,
and computes something else without saying so. Compilers use them where a program needs
a newer processor (x86-64-v3: RHEL 10, ClickHouse), mostly to move bytes about: these
are done here, and a run ends at any other one.
"""

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from capstone import x86

from tccap.tls.finder.code import Instruction, Operand, register_name

_LANE_LEN, WHOLE_LEN = 16, 32  # xmm, ymm
_COUNT: Final = 16  # of the registers
VEX: Final = b"\xc4\xc5"  # their first byte; also that of a few without vectors
_WIDTHS: Final = {"b": 1, "w": 2, "d": 4, "q": 8}
_ELEMENTS: Final = {"vmovd": 4, "vmovq": 8}  # what they move
_MOVES: Final = frozenset(
    (
        *("vmovdqu", "vmovdqa", "vmovups", "vmovaps", "vmovupd", "vmovapd"),
        *("vmovd", "vmovq", "vlddqu"),
    )
)

Bytes = npt.NDArray[np.uint8]


class Processor(Protocol):
    """What instructions change: `machine.Machine`."""

    def register(self, name: str) -> int:
        """Return the value of a general register."""

    def set_register(self, name: str, value: int) -> None:
        """Set a general register."""

    def vector(self, number: int) -> bytes:
        """Return the 32 bytes of a register ymm."""

    def set_vector(self, number: int, content: bytes) -> None:
        """Set the 32 bytes of a register ymm."""

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of memory; empty if any of it cannot be mapped."""

    def store(self, address: int, content: bytes) -> bool:
        """Write to memory; return whether it can be mapped."""

    def effective(self, instruction: Instruction, operand: Operand) -> int | None:
        """Return the address of an operand in memory."""


def is_vector(instruction: Instruction) -> bool:
    """Return whether this is an instruction of AVX."""
    is_vex = instruction.bytes[0] in VEX
    return is_vex and str(instruction.mnemonic).startswith("v")


def run(processor: Processor, instruction: Instruction) -> bool:
    """Do what the instruction does; False if it is not one of those that are known."""
    try:
        return _run(processor, instruction)
    except _UnknownError:
        return False


class _UnknownError(Exception):
    """The instruction, or the memory that it reads, is not known."""


def _run(processor: Processor, instruction: Instruction) -> bool:
    name, operands = str(instruction.mnemonic), instruction.operands
    if name == "vzeroupper":
        for number in range(_COUNT):
            low = processor.vector(number)[:_LANE_LEN]
            processor.set_vector(number, low.ljust(WHOLE_LEN, b"\0"))
        return True
    values = [_value(processor, instruction, operand) for operand in operands[1:]]
    result = _result(name, operands[0].size, values)
    return _set(processor, instruction, operands[0], result)


def _result(name: str, size: int, values: list[bytes]) -> bytes:
    """Return what an instruction computes from the values of its operands."""
    if name in _MOVES:
        [value] = values
        return value[: _ELEMENTS.get(name, size)]
    if name in _LOGIC:
        first, second = (np.frombuffer(v[:size], np.uint8) for v in values)
        return _LOGIC[name](first, second).tobytes()
    if name.startswith(("vpinsr", "vpextr")):
        return _element(name, values)
    if name.startswith("vpbroadcast"):
        width = _WIDTHS[name[-1]]
        return values[0][:width] * (size // width)
    if name in _HALVES:
        return _HALVES[name](values)
    if name in _BY_LANE:
        lanes = range(0, size, _LANE_LEN)
        of_lanes = ([_lane(v, at) for v in values] for at in lanes)
        return b"".join(_BY_LANE[name](*each).tobytes() for each in of_lanes)
    raise _UnknownError


def _lane(value: bytes, at: int) -> Bytes:
    # A constant is the same for both lanes.
    part = value if len(value) == 1 else value[at : at + _LANE_LEN]
    return np.frombuffer(part, np.uint8)


def _element(name: str, values: list[bytes]) -> bytes:
    """Do vpinsr (vector, element, number) or vpextr (vector, number)."""
    width = _WIDTHS[name[-1]]
    at = values[-1][0] * width % _LANE_LEN
    vector = values[0][:_LANE_LEN]
    if name.startswith("vpextr"):
        return vector[at : at + width]
    return vector[:at] + values[1][:width] + vector[at + width :]


def _insert(values: list[bytes]) -> bytes:
    vector, lane, [number] = values[0], values[1][:_LANE_LEN], values[2]
    return vector[:_LANE_LEN] + lane if number & 1 else lane + vector[_LANE_LEN:]


def _extract(values: list[bytes]) -> bytes:
    at = _LANE_LEN * (values[1][0] & 1)
    return values[0][at : at + _LANE_LEN]


def _permute(values: list[bytes]) -> bytes:
    """Choose each half of the result among the four halves of two vectors."""
    both, number = values[0] + values[1], values[2][0]
    halves = []
    for control in (number & 0xF, number >> 4):
        at = _LANE_LEN * (control & 3)
        halves.append(bytes(_LANE_LEN) if control & 8 else both[at : at + _LANE_LEN])
    return b"".join(halves)


def _permute_words(values: list[bytes]) -> bytes:
    words = np.frombuffer(values[0], np.uint64)
    return words[[values[1][0] >> 2 * n & 3 for n in range(4)]].tobytes()


def _unpack(width: int, *, high: bool) -> Callable[[Bytes, Bytes], Bytes]:
    def unpack(first: Bytes, second: Bytes) -> Bytes:
        half = slice(_LANE_LEN // 2, None) if high else slice(_LANE_LEN // 2)
        pair = [each[half].reshape(-1, width) for each in (first, second)]
        return np.stack(pair, axis=1).reshape(-1)

    return unpack


def _arithmetic(name: str, width: int) -> Callable[[Bytes, Bytes], Bytes]:
    kind = np.dtype(f"u{width}")

    def compute(first: Bytes, second: Bytes) -> Bytes:
        one, other = first.view(kind), second.view(kind)
        if name == "cmpeq":
            made = np.where(one == other, ~kind.type(0), kind.type(0))
        elif name == "cmpgt":
            is_more = one.view(f"i{width}") > other.view(f"i{width}")
            made = np.where(is_more, ~kind.type(0), kind.type(0))
        else:
            made = one + other if name == "add" else one - other
        return np.frombuffer(made.astype(kind).tobytes(), np.uint8)

    return compute


def _blend(first: Bytes, second: Bytes, mask: Bytes) -> Bytes:
    return np.where(mask & 0x80, second, first).astype(np.uint8)


def _subtract_to_zero(first: Bytes, second: Bytes) -> Bytes:
    return np.subtract(first, np.minimum(first, second))


def _shuffle(first: Bytes, second: Bytes) -> Bytes:
    chosen = first[second & 0xF]
    return np.where(second & 0x80, 0, chosen).astype(np.uint8)


def _shift(width: int, *, left: bool) -> Callable[[Bytes, Bytes], Bytes]:
    kind = np.dtype(f"u{width}")

    def shift(value: Bytes, count: Bytes) -> Bytes:
        if len(count) != 1:  # a register
            raise _UnknownError
        bits = int(count[0])
        if bits >= 8 * width:
            return np.zeros(_LANE_LEN, np.uint8)
        words = value.view(kind)
        moved = words << kind.type(bits) if left else words >> kind.type(bits)
        return np.frombuffer(moved.astype(kind).tobytes(), np.uint8)

    return shift


_LOGIC: Final[dict[str, Callable[[Bytes, Bytes], Bytes]]] = {
    **dict.fromkeys(("vpxor", "vxorps", "vxorpd"), np.bitwise_xor),
    **dict.fromkeys(("vpand", "vandps", "vandpd"), np.bitwise_and),
    **dict.fromkeys(("vpor", "vorps", "vorpd"), np.bitwise_or),
    **dict.fromkeys(
        ("vpandn", "vandnps", "vandnpd"), lambda first, second: ~first & second
    ),
}
_HALVES: Final[dict[str, Callable[[list[bytes]], bytes]]] = {
    **dict.fromkeys(("vinserti128", "vinsertf128"), _insert),
    **dict.fromkeys(("vextracti128", "vextractf128"), _extract),
    **dict.fromkeys(("vperm2i128", "vperm2f128"), _permute),
    **dict.fromkeys(("vpermq", "vpermpd"), _permute_words),
}
_BY_LANE: Final[dict[str, Callable[..., Bytes]]] = {
    "vpshufb": _shuffle,
    "vpblendvb": _blend,
    "vpsubusb": _subtract_to_zero,
    "vpminub": np.minimum,
    "vpmaxub": np.maximum,
    **{
        f"vpunpck{'h' if high else 'l'}{letters}": _unpack(width, high=high)
        for letters, width in (("bw", 1), ("wd", 2), ("dq", 4), ("qdq", 8))
        for high in (False, True)
    },
    **{
        f"vp{name}{letter}": _arithmetic(name, width)
        for letter, width in _WIDTHS.items()
        for name in ("add", "sub", "cmpeq", "cmpgt")
    },
    **{
        f"vps{'l' if left else 'r'}l{letter}": _shift(_WIDTHS[letter], left=left)
        for letter in "wdq"
        for left in (False, True)
    },
}


def _value(processor: Processor, instruction: Instruction, operand: Operand) -> bytes:
    if operand.type == x86.X86_OP_IMM:
        return bytes([operand.imm & 0xFF])
    if operand.type == x86.X86_OP_MEM:
        address = processor.effective(instruction, operand)
        content = b"" if address is None else processor.read(address, operand.size)
        if not content:
            raise _UnknownError
        return content
    number = _number(instruction, operand)
    if number is not None:
        return processor.vector(number)
    return _general(processor, instruction, operand).to_bytes(8, "little")


def _general(processor: Processor, instruction: Instruction, operand: Operand) -> int:
    try:
        return processor.register(register_name(instruction, operand.reg))
    except KeyError:
        raise _UnknownError from None


def _set(
    processor: Processor, instruction: Instruction, operand: Operand, result: bytes
) -> bool:
    """Write a result, which is zero beyond its length in a register."""
    if operand.type == x86.X86_OP_MEM:
        address = processor.effective(instruction, operand)
        return address is not None and processor.store(address, result)
    number = _number(instruction, operand)
    if number is not None:
        processor.set_vector(number, result.ljust(WHOLE_LEN, b"\0"))
        return True
    _general(processor, instruction, operand)  # it is one that there is
    name = register_name(instruction, operand.reg)
    processor.set_register(name, int.from_bytes(result, "little"))
    return True


def _number(instruction: Instruction, operand: Operand) -> int | None:
    """Return the number of a register xmm or ymm; None if it is another one."""
    name = str(instruction.reg_name(operand.reg))
    is_vector_register = name.startswith(("xmm", "ymm"))
    return int(name[3:]) if is_vector_register and int(name[3:]) < _COUNT else None
