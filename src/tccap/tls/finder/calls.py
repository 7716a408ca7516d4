"""Calls: those that a function makes, and those that reach a function."""

from collections.abc import Iterable, Iterator

import numpy as np

from tccap.tls.finder import search
from tccap.tls.finder.code import Decoder, Instruction, is_call, target_of
from tccap.tls.finder.elf import ADDRESS_LIMIT
from tccap.tls.finder.image import Image

# Opcodes before a rel32: call, jmp [rip+rel32], call [rip+rel32].
_CALL, _JUMP_THROUGH, _CALL_THROUGH = b"\xe8", b"\xff\x25", b"\xff\x15"
FUNCTION_LEN_MAX = 1 << 16
_PREFIX_LENS = (0, 1, 4, 5)  # bnd, endbr64 before the jump


def inside(image: Image, decoder: Decoder, function: int) -> Iterator[Instruction]:
    """Yield the call instructions of a function, in the order of addresses."""
    at, end = image.functions.around(function) or (function, function)
    while at < min(end, function + FUNCTION_LEN_MAX):
        instruction = decoder.at(at)
        if instruction is None:
            return
        if is_call(instruction):
            yield instruction
        at += instruction.size


def own_targets(image: Image, decoder: Decoder, function: int) -> set[int]:
    """Return the functions that a function calls directly, without imports."""
    targets = {target_of(call) for call in inside(image, decoder, function)}
    return {t for t in targets if t is not None and not image.imported(t)}


def calls_of(image: Image, names: Iterable[bytes]) -> Iterator[int]:
    """Yield the addresses of calls to exported functions, own or imported."""
    slots = {
        found.slot
        for found in image.relocations.imports(0, ADDRESS_LIMIT)
        if found.name in names
    }
    entries = {image.symbols.address[n] for n in names if n in image.symbols.address}
    for jump in _reaching(image, _JUMP_THROUGH, slots):
        entries |= {jump - n for n in _PREFIX_LENS if image.imported(jump - n)}
    yield from _reaching(image, _CALL, entries)
    yield from _reaching(image, _CALL_THROUGH, slots)


def direct(image: Image, function: int) -> Iterator[int]:
    """Yield the addresses of the direct calls of a function."""
    return _reaching(image, _CALL, {function})


def _reaching(image: Image, opcode: bytes, targets: set[int]) -> Iterator[int]:
    """Yield the addresses of an opcode whose rel32 leads to a target."""
    wanted = np.array(sorted(targets), dtype=np.int64)
    size = len(opcode) + 4
    for code in image.elf.codes if targets else ():
        content = image.elf.array("u1", code.offset, code.file_len)
        at = np.flatnonzero(content[: 1 - size] == opcode[0])
        for n in range(1, len(opcode)):
            at = at[content[at + n] == opcode[n]]
        distance = search.distances(content, at + len(opcode))
        reached = at + (code.address + size) + distance
        for place in at[np.isin(reached, wanted)]:
            yield int(place) + code.address
