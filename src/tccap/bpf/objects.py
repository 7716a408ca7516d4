"""Compiled BPF programs and the maps they use, as data that can be kept.

bcc's instructions refer to maps by descriptors, which are valid in one process only.
Here they refer to maps by their index in `Object.maps`, so that an object can be loaded
again without the compiler.
"""

import ctypes
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

from tccap.bpf.uapi import LD_IMM64, PSEUDO_MAP_FD
from tccap.errors import TccapError

# struct bpf_insn (include/uapi/linux/bpf.h): code, registers, offset, immediate.
INSTRUCTION = struct.Struct("=BBhi")


def immediate(value: int) -> int:
    """Return the lower 32 bits of a number, as INSTRUCTION takes them."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


class MapSpec(NamedTuple):
    """One map, with the arguments of BPF_MAP_CREATE."""

    name: str
    kind: int  # enum bpf_map_type
    key_len: int
    value_len: int
    max_entries: int
    flags: int
    # Type ids in `Object.btf`; 0: the map needs none.
    btf_key_type: int
    btf_value_type: int
    # bcc's descriptions of the C types of keys and values, in JSON; see `ctype`.
    key: str
    leaf: str

    def resized(self, size: "MapSize") -> Self:
        """Return the map with another size."""
        given = {name: number for name, number in size._asdict().items() if number}
        return self._replace(**given)


class MapSize(NamedTuple):
    """What is decided of a map when it is made; 0: as it was compiled.

    ``max_entries`` counts entries, or in a ring buffer bytes; ``value_len`` keeps only
    the first bytes of each value.
    """

    max_entries: int = 0
    value_len: int = 0


class Object(NamedTuple):
    """Programs by name, each a sequence of instructions, and their maps."""

    maps: tuple[MapSpec, ...]
    programs: dict[str, bytes]
    btf: bytes  # type information (BPF_BTF_LOAD) for the maps that need it

    def to_bytes(self) -> bytes:
        """Return the object as JSON, for `from_bytes`."""
        programs = {name: code.hex() for name, code in self.programs.items()}
        return json.dumps([self.maps, programs, self.btf.hex()]).encode("ascii")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Return the object that `to_bytes` wrote; TccapError for any other bytes."""
        try:
            maps, programs, btf = json.loads(raw)
            return cls(
                tuple(MapSpec(*each) for each in maps),
                {name: bytes.fromhex(code) for name, code in programs.items()},
                bytes.fromhex(btf),
            )
        except (AttributeError, TypeError, ValueError):
            raise TccapError("These are not compiled BPF programs.") from None

    def instructions(self, program: str, map_fds: Mapping[int, int]) -> bytes:
        """Return a program's instructions with maps referred to by descriptor.

        ``map_fds`` gives the descriptor for each index in `maps`.
        """
        return with_maps(self.programs[program], map_fds)


def with_maps(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return instructions that refer to maps by other numbers.

    ``numbers`` maps old numbers to new ones; KeyError for a number that it lacks.
    """
    out = bytearray(code)
    for at in places(code, LD_IMM64):
        op, registers, offset, number = instruction(code, at)
        if registers >> 4 == PSEUDO_MAP_FD:
            start = at * INSTRUCTION.size
            INSTRUCTION.pack_into(out, start, op, registers, offset, numbers[number])
    return bytes(out)


def places(code: bytes, operation: int) -> Iterator[int]:
    """Yield the indexes of the instructions with this code, of LD_IMM64 the first."""
    operations = code[:: INSTRUCTION.size]  # that of LD_IMM64's second half is 0
    at = operations.find(operation)
    while at >= 0:
        yield at
        at = operations.find(operation, at + 1)


def instruction(code: bytes, at: int) -> tuple[int, int, int, int]:
    """Return code, registers, offset and immediate of the instruction at an index."""
    return INSTRUCTION.unpack_from(code, at * INSTRUCTION.size)


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
    """Return the ctypes type that bcc describes, with the layout that C gives it.

    A description is the name of an integer type, or ``[name, [member, ...], kind]`` for
    a structure, where kind is "struct" or "struct_packed". A member is ``[name,
    description]`` or, for an array, ``[name, description, [length]]``; padding that the
    compiler inserts is a member, too. TccapError for types that our maps do not use.
    """
    try:
        if isinstance(description, str):
            return _PRIMITIVES[description]
        name, members, kind = description
        fields = [_field(*member) for member in members]
        packing = {"struct_packed": {"_pack_": 1}, "struct": {}}[kind]
        return type(name, (ctypes.Structure,), {**packing, "_fields_": fields})
    except (KeyError, TypeError, ValueError):
        raise TccapError(f"The type of a map is not known: {description}.") from None


def _field(name: str, description: Any, lengths: Any = ()) -> tuple[str, Any]:
    of = ctype(description)
    for length in lengths:
        of *= length
    return name, of
