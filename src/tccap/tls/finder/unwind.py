"""Bounds of functions, from .eh_frame_hdr (LSB Core, Exception Frames)."""

import struct

import numpy as np

from tccap.tls.finder.elf import PT_GNU_EH_FRAME, Elf

_HEADER = struct.Struct("<BBBBiI")
_PC_RANGE = struct.Struct("<I")
_UDATA4, _DATAREL_SDATA4 = 0x03, 0x3B  # the encodings that all linkers write


class Functions:
    """The functions in the unwind information; not every function has some."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        table = np.zeros((0, 2), dtype=np.int64)
        segment = elf.segment(PT_GNU_EH_FRAME)
        if segment:
            version, _, count_form, table_form, _, count = elf.unpack(
                _HEADER, segment.offset
            )
            if (version, count_form, table_form) == (1, _UDATA4, _DATAREL_SDATA4):
                rows = elf.array("<i4", segment.offset + _HEADER.size, 2 * count)
                table = rows.reshape(-1, 2).astype(np.int64) + segment.address
        self._starts = table[:, 0]
        self._entries = table[:, 1]

    def around(self, address: int) -> tuple[int, int] | None:
        """Return (start, end) of the function around an address; None if unknown."""
        n = int(np.searchsorted(self._starts, address, side="right")) - 1
        if n < 0:
            return None
        start = int(self._starts[n])
        # A frame description: length, CIE, first address, size (each 4 bytes).
        place = self._elf.offset_of(int(self._entries[n]))
        if place is None:
            return None
        [size] = self._elf.unpack(_PC_RANGE, place + 12)
        return (start, start + size) if start <= address < start + size else None
