"""Label strings of the key log, and the instructions that load their addresses."""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tccap.tls.finder import search
from tccap.tls.finder.code import Decoder, constant_of
from tccap.tls.finder.elf import Segment
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image
from tccap.tls.sites import LABELS

STRINGS_MAX = REFERENCES_MAX = 1024
_CONSTANT = struct.Struct("<I")
_INSTRUCTION_LEN = 7  # REX.W, opcode, ModRM, rel32
_PREFIX_LEN_MAX = 8  # of an instruction, before its immediate
_LEA, _LOAD = 0x8D, 0x8B


def strings(image: Image) -> dict[int, str]:
    """Return address -> label of each label string.

    A label may be the end of a longer string: linkers merge strings with equal ends.
    """
    return _strings(image, b"\0")


def texts(image: Image) -> dict[int, str]:
    """Return address -> label of each place that a label begins at, in Go programs."""
    return _strings(image, b"")


def _strings(image: Image, end: bytes) -> dict[int, str]:
    patterns = {label.encode() + end: label for label in LABELS}
    found: dict[int, str] = {}
    for load in image.elf.loads:
        for place, pattern in _find(image, patterns, load):
            found[place] = patterns[pattern]
            if len(found) > STRINGS_MAX:
                raise RefusedError("It holds too many labels of key logs.")
    return found


def counted(image: Image) -> set[str]:
    """Return the labels that are there with or without a NUL, as Rust has them."""
    patterns = {label.encode(): label for label in LABELS}
    found = set()
    for _, pattern in search.find(image.elf.data, patterns):
        found.add(patterns[pattern])
    return found


def _find(
    image: Image, patterns: Iterable[bytes], segment: Segment
) -> Iterator[tuple[int, bytes]]:
    """Yield (address, pattern) of each pattern in a segment."""
    end = segment.offset + segment.file_len
    for place, pattern in search.find(image.elf.data, patterns, segment.offset, end):
        yield place - segment.offset + segment.address, pattern


def references(
    image: Image, decoder: Decoder, targets: dict[int, str]
) -> dict[int, str]:
    """Return address -> label, for each instruction that loads a label's address."""
    found = _relative(image, _LEA, targets)
    if not image.elf.is_relocatable:
        found |= _absolute(image, decoder, targets)
    missing = set(targets.values()) - set(found.values())
    if missing:
        slots = {
            slot: label
            for target, label in targets.items()
            for slot in image.relocations.slots_of(target)
        }
        found |= _relative(image, _LOAD, slots)
    if len(found) > REFERENCES_MAX:
        raise RefusedError("It refers to the labels of key logs too often.")
    return found


def loads(
    image: Image, decoder: Decoder, targets: Iterable[int]
) -> list[tuple[int, int]]:
    """Return (instruction, target) wherever an instruction loads a target's address."""
    places = {target: target for target in targets}
    found = _relative(image, _LEA, places)
    if not image.elf.is_relocatable:
        found |= _absolute(image, decoder, places)
    if len(found) > REFERENCES_MAX:
        raise RefusedError("It refers to the labels of key logs too often.")
    return sorted(found.items())


def _relative(image: Image, opcode: int, targets: dict[int, Any]) -> dict[int, Any]:
    """Find REX.W + opcode with the operand [rip+rel32] on a target."""
    wanted = np.array(sorted(targets), dtype=np.int64)
    found: dict[int, Any] = {}
    for code in image.elf.codes:
        end = code.offset + code.file_len
        for offset, piece in search.pieces(image.elf.data, code.offset, end):
            if len(piece) < _INSTRUCTION_LEN:
                continue
            base = offset - code.offset + code.address
            places, reached = _rip_operands(np.frombuffer(piece, np.uint8), opcode)
            hits = np.isin(reached + base, wanted)
            for place, target in zip(places[hits], reached[hits], strict=True):
                found[int(place) + base] = targets[int(target) + base]
    return found


def _rip_operands(
    code: npt.NDArray[np.uint8], opcode: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return starts and targets of such instructions, as offsets in ``code``."""
    at = np.flatnonzero(code[1 : len(code) - _INSTRUCTION_LEN + 2] == opcode)
    at = at[(code[at] & 0xFB) == 0x48]
    at = at[(code[at + 2] & 0xC7) == 0x05]
    return at, at + _INSTRUCTION_LEN + search.distances(code, at + 3)


def _absolute(
    image: Image, decoder: Decoder, targets: dict[int, Any]
) -> dict[int, Any]:
    """Find mov reg, imm32, which programs at fixed addresses (not PIE) use."""
    patterns = {_CONSTANT.pack(t): t for t in targets if t < 1 << 31}
    found: dict[int, Any] = {}
    for code in image.elf.codes:
        for place, pattern in _find(image, patterns, code):
            target = patterns[pattern]
            start = _move_before(decoder, place, target)
            if start is not None:
                found[start] = targets[target]
            if len(found) > REFERENCES_MAX:
                return found
    return found


def _move_before(decoder: Decoder, constant: int, value: int) -> int | None:
    """Return the longest mov whose immediate is at the address ``constant``."""
    for start in range(constant - _PREFIX_LEN_MAX, constant):
        instruction = decoder.at(start)
        if instruction is None or start + instruction.size != constant + 4:
            continue
        if instruction.mnemonic == "mov" and constant_of(instruction) == value:
            return start
    return None
