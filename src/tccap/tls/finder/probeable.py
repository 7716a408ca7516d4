"""Where the kernel can set a probe: not at every instruction.

On x86, uprobes refuse instructions with the prefixes es, cs, ss, ds or lock
(is_prefix_bad of arch/x86/kernel/uprobes.c), some only when a process maps the file, so
that nobody is told. Assemblers put cs before instructions to align branches.
"""

from itertools import takewhile

from tccap.tls.finder import jumps
from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    is_call,
    is_end,
    is_jump,
    memory_registers,
    register_name,
)
from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.image import Image

_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_REFUSED = frozenset(b"\x26\x2e\x36\x3e\xf0")
_INSTRUCTION_LEN_MAX = 15
_SKIPPED_MAX = 8


def is_probeable(image: Image, address: int) -> bool:
    """Return whether the kernel probes the instruction at an address."""
    code = image.elf.read(address, _INSTRUCTION_LEN_MAX)
    return not _REFUSED & {*takewhile(_PREFIXES.__contains__, code)}


def entry(image: Image, decoder: Decoder, function: int) -> int | None:
    """Return the first instruction of a function that can be probed.

    Every call executes it once, with the arguments still in their registers. None if
    that is not certain of any.
    """
    at = function
    for _ in range(_SKIPPED_MAX):
        if is_probeable(image, at):
            if at == function or not jumps.leading_to(image, decoder, {at}):
                return at
            return None
        instruction = decoder.at(at)
        if instruction is None or not _keeps_arguments(instruction):
            return None
        at += instruction.size
    return None


def _keeps_arguments(instruction: Instruction) -> bool:
    """Return whether it goes on to the next one, and changes no argument or memory."""
    if is_call(instruction) or is_jump(instruction) or is_end(instruction):
        return False
    if any(memory_registers(instruction, each) for each in instruction.operands):
        return False
    written = {register_name(instruction, r) for r in instruction.regs_access()[1]}
    return not written & {*ARGUMENTS}
