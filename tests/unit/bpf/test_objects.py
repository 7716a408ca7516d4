"""Compiled programs as data, and the types of maps."""

import ctypes

import pytest

from tccap.bpf import objects
from tccap.bpf.objects import INSTRUCTION, MapSpec, Object
from tccap.errors import TccapError

LOAD_64, PSEUDO_MAP_FD, EXIT = 0x18, 1, 0x95
SPEC = MapSpec("counts", 1, 4, 8, 10, 0, 0, 0, '"unsigned int"', '"long long"')


def _load(register: int, source: int, value: int) -> bytes:
    """Return ``register = value``, or a map's address: two instructions."""
    first = INSTRUCTION.pack(LOAD_64, register | source << 4, 0, value)
    return first + INSTRUCTION.pack(0, 0, 0, value)


def test_only_references_to_maps_are_changed() -> None:
    number, end = _load(1, 0, 7), INSTRUCTION.pack(EXIT, 0, 0, 7)
    code = number + _load(2, PSEUDO_MAP_FD, 7) + end
    changed = objects.with_maps(code, {7: 3})
    assert changed[: len(number)] == number
    assert INSTRUCTION.unpack_from(changed, 16) == (LOAD_64, 0x12, 0, 3)
    # Its second half is a number's upper half: it looks like no instruction.
    assert changed[24:] == code[24:]


def test_a_map_that_is_not_there_is_no_program() -> None:
    with pytest.raises(KeyError):
        objects.with_maps(_load(1, PSEUDO_MAP_FD, 7), {8: 3})


def test_an_object_comes_back() -> None:
    made = Object((SPEC,), {"classify": b"\0\1" * 4}, b"types")
    assert Object.from_bytes(made.to_bytes()) == made


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"[1, 2, 3]", b'[[["x"]], {}, ""]', b'[[], {"a": 1}, ""]'],
)
def test_other_bytes_than_an_object_are_refused(raw: bytes) -> None:
    with pytest.raises(TccapError):
        Object.from_bytes(raw)


def test_a_structure_is_laid_out_as_in_c() -> None:
    inner = ["id", [["start", "unsigned long long"], ["pid", "int"]], "struct_packed"]
    members = [["id", inner], ["text", "char", [16]], ["n", "unsigned short"]]
    of = objects.ctype(["outer", members, "struct_packed"])
    assert ctypes.sizeof(of) == 12 + 16 + 2
    value = of((5, -1), b"name", 9)
    assert (value.id.start, value.id.pid, value.text, value.n) == (5, -1, b"name", 9)


@pytest.mark.parametrize(
    "description", ["long double", ["u", [["x", "int"]], "union"], 7, ["s", [["x"]]]]
)
def test_a_type_that_is_not_known_is_refused(description: object) -> None:
    with pytest.raises(TccapError, match="not known"):
        objects.ctype(description)
