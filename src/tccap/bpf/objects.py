"""Compiled BPF programs and the maps they use, as data that can be kept.

bcc gives instructions that hold descriptors of maps, which one process has. Here they
refer to maps by their place in `Object.maps`, so that the same object can be loaded
again, without a compiler.
"""

import ctypes
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from tccap.errors import TccapError

# struct bpf_insn (include/uapi/linux/bpf.h): code, registers, offset, immediate.
INSTRUCTION = struct.Struct("=BBhi")
_LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: takes two instructions
_PSEUDO_MAP_FD = 1  # in place of a source register


class MapSpec(NamedTuple):
    """One map, as BPF_MAP_CREATE wants it."""

    name: str
    kind: int  # enum bpf_map_type
    key_len: int
    value_len: int
    max_entries: int
    flags: int
    # In `Object.btf`; 0: the map needs no types.
    btf_key_type: int
    btf_value_type: int
    # bcc's descriptions of the types in C, in JSON; see `ctype`.
    key: str
    leaf: str


class Object(NamedTuple):
    """Programs by name, each a sequence of instructions, and their maps."""

    maps: tuple[MapSpec, ...]
    programs: dict[str, bytes]
    btf: bytes  # type information (BPF_BTF_LOAD), for the maps that need it

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        programs = {name: code.hex() for name, code in self.programs.items()}
        return json.dumps([self.maps, programs, self.btf.hex()]).encode("ascii")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read an object back; TccapError for anything else."""
        try:
            maps, programs, btf = json.loads(raw)
            return cls(
                tuple(MapSpec(*each) for each in maps),
                {name: bytes.fromhex(code) for name, code in programs.items()},
                bytes.fromhex(btf),
            )
        except (AttributeError, TypeError, ValueError):
            raise TccapError("These are no compiled BPF programs.") from None

    def instructions(self, program: str, map_fds: Mapping[int, int]) -> bytes:
        """Return a program for a process in which the maps have these descriptors."""
        return with_maps(self.programs[program], map_fds)


def with_maps(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return instructions with other numbers in place of those of maps.

    KeyError names a number that is not among them.
    """
    out = bytearray(code)
    at = 0
    while at < len(out):
        op, registers, offset, immediate = INSTRUCTION.unpack_from(out, at)
        if op == _LOAD_64:
            if registers >> 4 == _PSEUDO_MAP_FD:
                number = numbers[immediate]
                INSTRUCTION.pack_into(out, at, op, registers, offset, number)
            at += INSTRUCTION.size
        at += INSTRUCTION.size
    return bytes(out)


_PRIMITIVES = {
    "char": ctypes.c_char,
    "signed char": ctypes.c_int8,
    "unsigned char": ctypes.c_uint8,
    "short": ctypes.c_int16,
    "unsigned short": ctypes.c_uint16,
    "int": ctypes.c_int32,
    "unsigned int": ctypes.c_uint32,
    "long": ctypes.c_int64,
    "unsigned long": ctypes.c_uint64,
    "long long": ctypes.c_int64,
    "unsigned long long": ctypes.c_uint64,
}


def ctype(description: Any) -> Any:
    """Return the ctypes type that bcc describes, with the very layout of C.

    A description is the name of a number's type, or a structure's ``[name, [member,
    ...], "struct_packed"]``. A member is ``[name, description]`` or, for an array,
    ``[name, description, [length]]``; gaps that the compiler leaves are members, too.
    TccapError for what no map of ours has.
    """
    try:
        if isinstance(description, str):
            return _PRIMITIVES[description]
        name, members, kind = description
        fields = [_field(*member) for member in members]
        packing = {"struct_packed": {"_pack_": 1}, "struct": {}}[kind]
        return type(name, (ctypes.Structure,), {**packing, "_fields_": fields})
    except (KeyError, TypeError, ValueError):
        raise TccapError(
            f"A map holds a type that is not known: {description}."
        ) from None


def _field(name: str, description: Any, lengths: Any = ()) -> tuple[str, Any]:
    of = ctype(description)
    for length in lengths:
        of *= length
    return name, of
