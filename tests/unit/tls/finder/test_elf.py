"""ELF files: addresses and offsets, all of them checked."""

import pytest

from support.elf import elf, load
from tccap.tls.finder.elf import Elf
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.memory import PAGE_LEN, WORD


def test_addresses_are_found_in_the_file() -> None:
    file = Elf(elf(load(0, 0x4000, 0x78), more=b"\x90" * 64))
    assert file.offset_of(0x4010) == 0x10
    assert file.offset_of(0x4078) is None
    assert file.is_code(0x4000)
    assert file.read(0x4000, 4) == b"\x7fELF"
    assert len(file.read(0x4070, 100)) == 8
    assert file.page(0x4000, PAGE_LEN) == file.data[:0x78].ljust(PAGE_LEN, b"\0")
    assert file.page(0x5000, PAGE_LEN) is None


def test_a_look_outside_the_file_is_refused() -> None:
    file = Elf(elf(load(0, 0, 0x78)))
    for offset in (-1, len(file.data) - 7, 1 << 64):
        with pytest.raises(RefusedError):
            file.unpack(WORD, offset)
        with pytest.raises(RefusedError):
            file.array("<u8", offset, 1)
