"""Direct jumps that lead to given addresses, and where instructions begin."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tccap.tls.finder import search
from tccap.tls.finder.code import Decoder, is_jump, target_of
from tccap.tls.finder.image import Image

_BACK_LEN, _CHAINS = 240, 16  # decoding starts so many bytes before an instruction
_FAR_LEN, _FAR_CONDITIONAL_LEN = 5, 6  # jmp rel32; 0F 80+cc rel32
_JUMP, _TWO_BYTES, _CONDITIONAL = 0xE9, 0x0F, 0x80
_NEAR_REACH = 130  # of a jump of 2 bytes, rel8


def leading_to(image: Image, decoder: Decoder, targets: set[int]) -> set[int]:
    """Return those of the targets that direct jumps lead to."""
    found = set()
    for jump in {*_near(targets), *_far(image, targets)}:
        instruction = decoder.at(jump)
        if instruction is None or not is_jump(instruction):
            continue
        target = target_of(instruction)
        if target in targets and _is_instruction(decoder, jump):
            found.add(target)
    return found


def certain_before(decoder: Decoder, address: int) -> list[int]:
    """Return addresses of the instructions before one, where they are certain.

    Decoding from any byte falls into step with the instructions after some of them, so
    those that all attempts agree on are certain.
    """
    starts = range(address - _BACK_LEN, address - _BACK_LEN + _CHAINS)
    chains = [set(c) for start in starts if (c := _chain(decoder, start, address))]
    return sorted(set.intersection(*chains)) if chains else []


def _is_instruction(decoder: Decoder, address: int) -> bool:
    """Return whether most attempts at decoding find an instruction there."""
    starts = range(address - _BACK_LEN, address - _BACK_LEN + _CHAINS)
    hits = sum(bool(_chain(decoder, start, address)) for start in starts)
    return 2 * hits > _CHAINS


def _chain(decoder: Decoder, start: int, end: int) -> list[int]:
    """Return the addresses of the instructions from ``start`` that lead to ``end``."""
    found = []
    while start < end:
        instruction = decoder.at(start)
        if instruction is None:
            return []
        found.append(start)
        start += instruction.size
    return found if start == end else []


def _near(targets: set[int]) -> Iterator[int]:
    for target in targets:
        yield from range(target - _NEAR_REACH, target + _NEAR_REACH)


def _far(image: Image, targets: set[int]) -> Iterator[int]:
    """Yield what looks like a jump with a rel32 that leads to a target."""
    wanted = np.array(sorted(targets), dtype=np.int64)
    for code in image.elf.codes if targets else ():
        end = code.offset + code.file_len
        for offset, piece in search.pieces(image.elf.data, code.offset, end):
            base = offset - code.offset + code.address
            for at, reached in _operands(np.frombuffer(piece, np.uint8)):
                yield from (at[np.isin(reached + base, wanted)] + base).tolist()


def _operands(
    code: npt.NDArray[np.uint8],
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield starts and targets of such jumps, as offsets in ``code``."""
    opcodes = code[: max(len(code) - _FAR_CONDITIONAL_LEN, 0)]
    conditional = np.flatnonzero(opcodes == _TWO_BYTES)
    conditional = conditional[code[conditional + 1] & 0xF0 == _CONDITIONAL]
    for at, size in (
        (np.flatnonzero(opcodes == _JUMP), _FAR_LEN),
        (conditional, _FAR_CONDITIONAL_LEN),
    ):
        yield at, at + size + search.distances(code, at + size - 4)
