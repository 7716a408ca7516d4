"""Which files may be TLS libraries."""

import os
from pathlib import Path

import pytest

from tccap.check import check
from tccap.tls import libraries

MARKER = libraries.MARKERS[0]


def _has_marker(path: Path, blocks: int = 9, size: int = 0) -> bool:
    """Read at most ``blocks`` blocks, or ``size`` bytes."""
    left = iter(range(blocks))
    fd = os.open(path, os.O_RDONLY)
    try:
        size = size or path.stat().st_size
        return libraries.has_marker(fd, size, lambda: next(left, None) is not None)
    finally:
        os.close(fd)


@pytest.mark.parametrize("before", [0, 1, 1 - len(MARKER), -1])
def test_a_marker_is_found_wherever_it_is(tmp_path: Path, before: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(libraries.BLOCK_LEN + before) + MARKER)
    assert _has_marker(file)


def test_a_file_without_one_has_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(MARKER[1:] + bytes(libraries.BLOCK_LEN) + MARKER[:-1])
    assert not _has_marker(file)


def test_reading_can_be_ended(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * libraries.BLOCK_LEN) + MARKER)
    assert _has_marker(file, blocks=3)
    assert not _has_marker(file, blocks=2)


def test_a_file_that_grows_is_read_up_to_its_size(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100 + MARKER)
    assert not _has_marker(file, size=100)
    assert _has_marker(file, size=100 + len(MARKER))


def test_the_linker_is_asked_for_common_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ldconfig = tmp_path / "ldconfig"
    ldconfig.write_text(
        "#!/bin/sh\n"
        "printf '2 libs found in cache\\n'\n"
        "printf '\\tlibssl.so.3 (libc6,x86-64) => /lib/\\377/libssl.so.3\\n'\n"
        "printf '\\tlibc.so.6 (libc6,x86-64) => /lib/libc.so.6\\n'\n"
    )
    ldconfig.chmod(0o755)
    monkeypatch.setattr(libraries, "LDCONFIG", str(ldconfig))
    assert libraries.common() == [os.fsdecode(b"/lib/\xff/libssl.so.3")]


def test_a_check_without_the_linker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "LDCONFIG", "/nowhere/ldconfig")
    [finding] = check._tls()
    assert finding.mark == check.NOTE
    assert "/nowhere/ldconfig cannot be run" in finding.text
