"""Searching files in pieces: a match across a border is found, and once."""

import mmap
import re
from pathlib import Path

import pytest

from tccap.tls.finder import search

PIECE_LEN = 4096
LEN = 5 * PIECE_LEN + 100


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PIECE_LEN", PIECE_LEN)


def expected(data: bytes, pattern: bytes, start: int, end: int) -> list[int]:
    places = range(start, end - len(pattern) + 1)
    return [n for n in places if data[n : n + len(pattern)] == pattern]


@pytest.mark.parametrize("pattern", [b"ab", b"x" * search.OVERLAP])
@pytest.mark.parametrize("start", [0, 1, 100, PIECE_LEN, PIECE_LEN + 1])
def test_patterns_are_found_wherever_they_stand(pattern: bytes, start: int) -> None:
    for place in range(PIECE_LEN - 2 * search.OVERLAP, PIECE_LEN + search.OVERLAP):
        data = bytearray(LEN)
        for n in range(5):
            at = start + place + n * PIECE_LEN
            data[at : at + len(pattern)] = pattern
        end = LEN - search.OVERLAP // 2  # amid the last one, for some
        whole = expected(bytes(data), pattern, start, end)
        found = search.find(bytes(data), [pattern, b"none"], start, end)
        assert list(found) == [(at, pattern) for at in whole]


def test_overlapping_matches_are_all_found() -> None:
    found = list(search.find(b"a" * LEN, [b"aa"]))
    assert found == [(n, b"aa") for n in range(LEN - 1)]


def test_pieces_hold_all_of_the_file() -> None:
    data = bytes(range(256)) * (LEN // 256)
    whole = b"".join(piece[:PIECE_LEN] for _, piece in search.pieces(data, 7, 20_000))
    assert whole == data[7:20_000]
    assert list(search.pieces(data, 9, 9)) == []
    assert list(search.pieces(data, len(data) + 1)) == []


def test_the_first_match_is_found_across_a_border() -> None:
    pattern = re.compile(rb"Version: (\d+\.\d+)")
    for place in range(PIECE_LEN - 32, PIECE_LEN + search.OVERLAP + 32):
        data = bytearray(LEN)
        data[place : place + 13] = b"Version: 3.14"
        found = search.first_match(bytes(data), pattern)
        assert found
        assert found[1] == b"3.14"
    assert search.first_match(bytes(LEN), pattern) is None


def test_a_large_file_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PIECE_LEN", 1 << 20)
    path = tmp_path / "large"
    size = 256 << 20
    with path.open("w+b") as file:
        for at in range(0, size, 1 << 20):
            file.seek(at)
            file.write(b"mark")
        file.truncate(size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            Path("/proc/self/clear_refs").write_text("5")  # begin the peak anew
            before = peak_kib()
            assert len(list(search.find(data, [b"mark"]))) == size >> 20
            after = peak_kib()
    assert after - before < 32 << 10


def peak_kib() -> int:
    """Return the most memory that this process has had (proc(5), VmHWM)."""
    status = Path("/proc/self/status").read_text()
    [line] = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])
