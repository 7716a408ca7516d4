"""Values in emulated memory lead back to where they come from."""

import pytest

from tccap.tls.finder.memory import PAGE_LEN, WORD, Fakes
from tccap.tls.sites import Number, Path


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


def test_a_fake_behind_a_fake_leads_back_too(fakes: Fakes) -> None:
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


def test_a_path_has_four_offsets_at_most(fakes: Fakes) -> None:
    address = fakes.make("rdi")
    for _ in range(3):
        address = word(fakes, address)
    assert fakes.path_to(address) == Path("rdi", (0, 0, 0, 0))
    assert fakes.path_to(word(fakes, address)) is None


def test_a_word_can_be_a_number() -> None:
    fakes = Fakes({Path("rdi", (8,)): 48})
    rdi = fakes.make("rdi")
    content = page(fakes, rdi)
    start = rdi % PAGE_LEN
    numbers = [WORD.unpack_from(content, start + 8 * n)[0] for n in range(3)]
    assert [number == 48 for number in numbers] == [False, True, False]


def test_the_number_of_fakes_is_limited(fakes: Fakes) -> None:
    address = fakes.make("rdi") & ~0xFFF
    pages = [fakes.page(address + n * PAGE_LEN) for n in range(64)]
    assert pages[0] is not None
    assert pages[-1] is None
