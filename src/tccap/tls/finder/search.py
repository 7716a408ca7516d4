"""Searching a whole file of any size, a piece at a time.

Pages of a mapped file count as memory of the process that reads them, so each piece is
copied, and its pages are released. (Searching a copy is also several times faster than
mmap.find before Python 3.13.)
"""

import mmap
import re
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tccap.tls.finder.elf import Data

PIECE_LEN = 8 << 20
OVERLAP = 64  # the longest pattern


def pieces(
    data: Data, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the pieces of [start, end) of a file.

    Each piece ends with the first OVERLAP bytes of the next one, so that every match
    that begins in its first PIECE_LEN bytes is whole.
    """
    end = len(data) if end is None else min(end, len(data))
    for offset in range(max(start, 0), end, PIECE_LEN):
        limit = min(offset + PIECE_LEN + OVERLAP, end)
        yield offset, bytes(data[offset:limit])
        if isinstance(data, mmap.mmap):
            page = offset - offset % mmap.PAGESIZE
            data.madvise(mmap.MADV_DONTNEED, page, limit - page)


def distances(
    code: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the operands rel32 of instructions, which stand at these offsets."""
    parts = [code[at + n] for n in range(4)]
    return np.stack(parts, axis=-1).view("<i4")[:, 0].astype(np.int64)


def find(
    data: Data, patterns: Iterable[bytes], start: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, pattern) of every match within [start, end).

    Patterns have at most OVERLAP bytes. In each piece, they are searched one by one.
    """
    patterns = list(patterns)
    for offset, piece in pieces(data, start, end):
        for pattern in patterns:
            limit = PIECE_LEN + len(pattern) - 1
            place = piece.find(pattern, 0, limit)
            while place >= 0:
                yield offset + place, pattern
                place = piece.find(pattern, place + 1, limit)


def first_match(data: Data, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
    """Return the first match in a file; its own offsets count from a piece.

    It has at most OVERLAP bytes, and must not depend on the bytes before it.
    """
    for _, piece in pieces(data):
        found = pattern.search(piece)
        if found and found.start() < PIECE_LEN:
            return found
    return None
