"""Cuts a pcapng stream at the ends of its blocks, and counts its packets.

Only the first 8 bytes of each block are read: its type and its length (pcapng
section 3.1), in this machine's byte order, as the engine writes them.
"""

import struct
import sys

from tccap.errors import TccapError

_HEAD = struct.Struct("=II")
_LEN_MIN = 12
_LEN_MAX = 1 << 24  # far above BLOCK_MAX of packets
_INTERFACE, _STATISTICS, _PACKET = 1, 5, 6


class WholeBlocks:
    """Passes whole blocks on, and after ``packets_max`` packets only descriptions.

    Those are of interfaces, with their statistics: the numbers at the end of the file.
    ``packets_max`` None means: all packets.
    """

    def __init__(self, packets_max: int | None = None) -> None:
        self.packets = 0  # passed on so far
        self._packets_max = sys.maxsize if packets_max is None else packets_max
        self._rest = b""

    @property
    def is_full(self) -> bool:
        """Whether no more packets pass."""
        return self.packets >= self._packets_max

    def take(self, text: bytes) -> bytes:
        """Return what to write now that ``text`` has come; keep a block's beginning.

        TccapError if these are no blocks.
        """
        text = self._rest + text
        end, packets = self._scan(text)
        self.packets += packets
        kept = text[:end]
        if self.is_full:
            descriptions, end = _descriptions(text, end)
            kept += descriptions
        self._rest = text[end:]
        return kept

    def _scan(self, text: bytes) -> tuple[int, int]:
        """Return where the last whole block ends that may pass, and the packets."""
        at, packets, wanted = 0, 0, self._packets_max - self.packets
        while packets < wanted:
            kind, end = _block(text, at)
            if end > len(text):
                break
            packets += kind == _PACKET
            at = end
        return at, packets


def _descriptions(text: bytes, at: int) -> tuple[bytes, int]:
    """Return the blocks from ``at`` on that describe interfaces, and where all end."""
    kept: list[bytes] = []
    while True:
        kind, end = _block(text, at)
        if end > len(text):
            return b"".join(kept), at
        if kind in (_INTERFACE, _STATISTICS):
            kept.append(text[at:end])
        at = end


def _block(text: bytes, at: int) -> tuple[int, int]:
    """Return a block's type and where it ends; behind the text if it is not whole."""
    if len(text) - at < _HEAD.size:
        return 0, len(text) + 1
    kind, length = _HEAD.unpack_from(text, at)
    if not _LEN_MIN <= length <= _LEN_MAX or length % 4:
        raise TccapError("The capturing process sent what is no pcapng block.")
    return kind, at + length
