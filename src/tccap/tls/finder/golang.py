"""Go programs: the log function is found by its name, also in stripped programs.

In crypto/tls and its forks the log function is (*Config).writeKeyLog(label string,
clientRandom, secret []byte). It is called whether the program wants a key log or not.
The program's table of functions (`gotable`) says where it begins, and its prologue
which calling convention it has. The proof are its callers: they pass labels.
"""

import re
from itertools import islice

from tccap.tls.finder import calls, gotable
from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    Place,
    constant_of,
    is_call,
    is_end,
    is_jump,
    place_of,
    register_name,
    rip_target,
)
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image
from tccap.tls.sites import LABELS, SITES_MAX, Number, Path, Site

_NAME = b").writeKeyLog"
_PROLOGUE_LEN = 24
# A function begins by comparing rsp, or rsp - n, with the stack's limit in g. Since Go
# 1.17 g is in r14; before that, it is loaded into rcx.
_BY_REGISTERS = re.compile(
    rb"\x49\x3b\x66\x10|\x4c\x8d(?:\x64\x24.|\xa4\x24.{4})\x4d\x3b\x66\x10", re.DOTALL
)
_BY_STACK = re.compile(
    rb"\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff"
    rb"(?:\x48\x3b\x61\x10|\x48\x8d(?:\x44\x24.|\x84\x24.{4})\x48\x3b\x41\x10)",
    re.DOTALL,
)
# Where the call of the function has the label's address and length.
_IN_REGISTERS: tuple[Place, Place] = ("rbx", "rcx")
_ON_STACK: tuple[Place, Place] = (("rsp", 8), ("rsp", 16))
_LABELS_MIN = 3  # fewer, and it is not the key log of crypto/tls
_LABEL_LENS = frozenset(map(len, LABELS))
_CALLS_MAX = 256  # more, and it is another function
_ARGUMENTS_LEN = 96  # of the instructions that load a call's arguments, at most


def sites(image: Image) -> tuple[Site, ...]:
    """Return a site for each log function of a Go program.

    RefusedError if it has a log function by its names, but none is proven.
    """
    decoder = Decoder(image.elf)
    found: dict[int, Site] = {}
    is_named = False
    for table in gotable.tables(image.elf):
        names = gotable.names(image.elf, table, _NAME)
        is_named = is_named or bool(names)
        for address in gotable.entries(image, table, names) if names else ():
            site = _site(image, decoder, address)
            if site:
                found[address] = site
    if len(found) > SITES_MAX:
        raise RefusedError("This Go program has too many functions that log secrets.")
    if is_named and not found:
        raise RefusedError("This Go program's log function was not understood.")
    return tuple(found[address] for address in sorted(found))


def _site(image: Image, decoder: Decoder, address: int) -> Site | None:
    """Return the site of a function; None unless it is proven."""
    code = image.elf.read(address, _PROLOGUE_LEN)
    by_registers = bool(_BY_REGISTERS.match(code))
    if not image.elf.is_code(address) or not (by_registers or _BY_STACK.match(code)):
        return None
    if len(_passed(image, decoder, address, by_registers)) < _LABELS_MIN:
        return None
    if by_registers:
        label, random, secret = (Path(r, (0,)) for r in ("rbx", "rdi", "r9"))
        label_len, secret_len = (Number(Path(r, ()), 8) for r in ("rcx", "r10"))
    else:  # above the return address: c, label, clientRandom, secret
        label, random, secret = (Path("rsp", (n, 0)) for n in (16, 32, 56))
        label_len, secret_len = (Number(Path("rsp", (n,)), 8) for n in (24, 64))
    return Site(
        address=address,
        file_offset=image.elf.code_offset(address),
        kind="line",
        label=label,
        label_len=label_len,
        client_random=random,
        secret=secret,
        secret_len=secret_len,
    )


def _passed(
    image: Image, decoder: Decoder, function: int, by_registers: bool
) -> set[str]:
    """Return the labels that the calls of a function pass to it."""
    where = _IN_REGISTERS if by_registers else _ON_STACK
    callers = list(islice(calls.direct(image, function), _CALLS_MAX + 1))
    if len(callers) > _CALLS_MAX:
        return set()
    passed = {_label_at(image, decoder, call, where) for call in callers}
    return {label for label in passed if label}


def _label_at(
    image: Image, decoder: Decoder, call: int, where: tuple[Place, Place]
) -> str | None:
    """Return the label that a call passes; None if it is not known to pass one."""
    # Instructions are not aligned: code that is decoded from a wrong start passes none.
    for start in range(call - 1, call - _ARGUMENTS_LEN, -1):
        known = _constants(decoder, start, call)
        address, length = (known.get(place, 0) for place in where)
        if address and length in _LABEL_LENS:
            text = image.elf.read(address, length).decode("latin-1")
            return text if text in LABELS else None
    return None


def _constants(decoder: Decoder, start: int, call: int) -> dict[Place, int]:
    """Return the places with constants at a call, in code without branches before it.

    Empty if execution from ``start`` does not reach the call.
    """
    known: dict[Place, int] = {}
    at = start
    while at < call:
        instruction = decoder.at(at)
        if instruction is None or _is_branch(instruction):
            return {}
        _execute(instruction, known)
        at += instruction.size
    return known if at == call else {}


def _is_branch(instruction: Instruction) -> bool:
    return is_call(instruction) or is_jump(instruction) or is_end(instruction)


def _execute(instruction: Instruction, known: dict[Place, int]) -> None:
    """Record what an instruction does to places with constants."""
    operands = instruction.operands
    value: int | None = None
    if instruction.mnemonic == "lea":
        value = rip_target(instruction)
    elif instruction.mnemonic == "mov":
        value = constant_of(instruction)
        source = place_of(instruction, operands[1])
        if value is None and source is not None:
            value = known.get(source)
    for register in instruction.regs_access()[1]:
        known.pop(register_name(instruction, register), None)
    goes_to = place_of(instruction, operands[0]) if operands else None
    if goes_to is not None:
        known.pop(goes_to, None)
        if value is not None:
            known[goes_to] = value
