"""The finder's parts, on what needs no file of others."""

import struct

import pytest

from tccap.tls.finder.elf import Elf
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.inspect import inspect
from tccap.tls.finder.memory import PAGE_LEN, WORD, Fakes
from tccap.tls.sites import Number, Path

PROGRAM = struct.Struct("<IIQQQQQQ")


def elf(*segments: bytes, machine: int = 62, kind: int = 3, more: bytes = b"") -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    count = len(segments)
    sizes = struct.pack("<HHHHHH", 64, 56, count, 0, 0, 0)
    head = ident + struct.pack("<HHIQQQI", kind, machine, 1, 0, 64, 0, 0) + sizes
    return head + b"".join(segments) + more


def load(offset: int, address: int, size: int, flags: int = 5) -> bytes:
    return PROGRAM.pack(1, flags, offset, address, address, size, size, 0x1000)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def page(fakes: Fakes, address: int) -> bytes:
    content = fakes.page(address - address % PAGE_LEN)
    assert content is not None
    return content


def word(fakes: Fakes, address: int) -> int:
    start = address % PAGE_LEN
    [value] = WORD.unpack_from(page(fakes, address), start)
    return int(value)


def test_a_fakes_address_leads_back_to_its_register(fakes: Fakes) -> None:
    rdi, rsi = fakes.make("rdi"), fakes.make("rsi")
    assert fakes.path_to(rdi + 80) == Path("rdi", (80,))
    assert fakes.path_to(rsi - 8) == Path("rsi", (-8,))
    assert fakes.path_to(0x1234) is None


def test_what_a_fake_points_to_leads_back_too(fakes: Fakes) -> None:
    value = word(fakes, fakes.make("rdi") + 168)
    assert fakes.path_to(value + 184) == Path("rdi", (168, 184))
    assert fakes.path_of_word(value) == Path("rdi", (168,))


def test_copied_bytes_lead_back_also_when_they_are_not_aligned(fakes: Fakes) -> None:
    rdi = fakes.make("rdi")
    content = page(fakes, rdi)
    start = rdi % PAGE_LEN
    for offset in (0, 3, 8, 100):
        found = fakes.bytes_at(content[start + offset : start + offset + 32])
        assert found == rdi + offset


def test_numbers_lead_back_with_their_width(fakes: Fakes) -> None:
    rdi = fakes.make("rdi")
    value = word(fakes, rdi + 16)
    assert fakes.number(rdi) == Number(Path("rdi", ()), 8)
    assert fakes.number(value) == Number(Path("rdi", (16,)), 8)
    assert fakes.number(value & 0xFFFFFFFF) == Number(Path("rdi", (16,)), 4)
    assert fakes.number(value >> 32) == Number(Path("rdi", (20,)), 4)
    assert fakes.number(48) is None


def test_a_way_of_more_than_four_steps_is_none(fakes: Fakes) -> None:
    address = fakes.make("rdi")
    for _ in range(3):
        address = word(fakes, address)
    assert fakes.path_to(address) == Path("rdi", (0, 0, 0, 0))
    assert fakes.path_to(word(fakes, address)) is None


def test_one_word_can_be_null() -> None:
    fakes = Fakes(Path("rdi", (8,)))
    rdi = fakes.make("rdi")
    content = page(fakes, rdi)
    start = rdi % PAGE_LEN
    assert content[start + 8 : start + 16] == bytes(8)
    assert content[start : start + 8] != bytes(8) != content[start + 16 : start + 24]


def test_fakes_come_to_an_end(fakes: Fakes) -> None:
    address = fakes.make("rdi") & ~0xFFF
    pages = [fakes.page(address + n * PAGE_LEN) for n in range(64)]
    assert pages[0] is not None
    assert pages[-1] is None


def test_addresses_are_found_in_the_file() -> None:
    file = Elf(elf(load(0, 0x4000, 0x78), more=b"\x90" * 64))
    assert file.offset_of(0x4010) == 0x10
    assert file.offset_of(0x4078) is None
    assert file.is_code(0x4000)
    assert file.read(0x4000, 4) == b"\x7fELF"
    assert len(file.read(0x4070, 100)) == 8
    assert file.page(0x4000, PAGE_LEN) == file.data[:0x78].ljust(PAGE_LEN, b"\0")
    assert file.page(0x5000, PAGE_LEN) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b"\x7fELF", "damaged"),
        (bytes(64), "not an ELF"),
        (elf(load(0, 0, 1), machine=183), "x86-64"),
        (elf(load(0, 0, 1), kind=1), "neither"),
        (elf(), "damaged"),
        (elf(load(0, 0, 1 << 20)), "damaged"),
        (elf(load(1 << 62, 0, 1 << 63)), "damaged"),
        (elf(load(0, 1 << 62, 8)), "damaged"),
        (elf(load(0, 0, 0x78)), "no key-log labels"),
    ],
)
def test_what_is_not_understood_is_refused(content: bytes, why: str) -> None:
    assert why in inspect(content).refusal


def test_a_look_outside_the_file_is_refused() -> None:
    file = Elf(elf(load(0, 0, 0x78)))
    for offset in (-1, len(file.data) - 7, 1 << 64):
        with pytest.raises(RefusedError):
            file.unpack(WORD, offset)
        with pytest.raises(RefusedError):
            file.array("<u8", offset, 1)
