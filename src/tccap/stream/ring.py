"""Reading the BPF ring buffer in place.

The ring's pages are mapped into our memory, and finished blocks are passed on as
memoryviews, so Python neither copies nor reads packets. The layout is the kernel's
(kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producer's
position, then the data, mapped twice in a row so that no record wraps. A record is a
u32 length with two flags, a u32 for the kernel's own use, and the data, padded to 8
bytes.
"""

import mmap
from typing import NamedTuple

from tccap.stream.abi import PAGE_LEN

HEADER_LEN = 8
BUSY = 1 << 31  # still being written
DISCARDED = 1 << 30
# Lengths of blocks are multiples of four; other records are messages (bpf/abi.h).
MESSAGE = 3
SPECIAL = BUSY | DISCARDED | MESSAGE
LEN_MASK = DISCARDED - 1

MORE_BYTES = 1 << 16
BATCH_BLOCKS = 1024  # IOV_MAX: more do not fit into one writev(2)
BATCH_BYTES = 1 << 20  # a batch occupies the ring until it is written


class Batch(NamedTuple):
    """Blocks that stay in the ring until `Ring.release`.

    A message ends a batch and comes after its blocks.
    """

    blocks: list[memoryview]
    message: bytes  # empty: none
    end: int  # the consumer's position behind all of it


class Ring:
    """The reader of a ring buffer map, whose data has ``data_len`` bytes."""

    def __init__(self, fd: int, data_len: int) -> None:
        self.fd = fd
        self._mask = data_len - 1
        consumer = mmap.mmap(fd, PAGE_LEN, mmap.MAP_SHARED)
        producer = mmap.mmap(
            fd,
            PAGE_LEN + 2 * data_len,
            mmap.MAP_SHARED,
            mmap.PROT_READ,
            offset=PAGE_LEN,
        )
        self._consumer = memoryview(consumer)[:8].cast("Q")
        self._producer = memoryview(producer)[:8].cast("Q")
        self._data = memoryview(producer)[PAGE_LEN:]
        self._words = self._data.cast("I")
        self._after_message = False

    def take(self) -> Batch:
        """Return the finished blocks at the front of the ring, perhaps none."""
        # The only loop that runs once per packet: names are local, and nothing but the
        # views is allocated.
        position = start = self._consumer[0]
        limit = min(self._producer[0], start + BATCH_BYTES)
        data, words, mask = self._data, self._words, self._mask
        blocks: list[memoryview] = []
        message = b""
        append = blocks.append
        while position < limit:
            at = position & mask
            length = words[at >> 2]
            at += HEADER_LEN
            if length & SPECIAL:
                if length & BUSY:
                    break
                if not length & DISCARDED:
                    message = bytes(data[at : at + length])
                    limit = position
                length &= LEN_MASK
            else:
                append(data[at : at + length])
                if len(blocks) == BATCH_BLOCKS:
                    limit = position
            position += (length + HEADER_LEN + 7) & ~7
        self._after_message = bool(message)
        return Batch(blocks, message, position)

    def has_more(self) -> bool:
        """Return whether to call `take` again at once.

        Either there is enough for a batch that is worth a write, or a message has cut
        the last batch short.
        """
        enough = 0 if self._after_message else MORE_BYTES
        return self._producer[0] - self._consumer[0] > enough

    def release(self, batch: Batch) -> None:
        """Return the space of a batch to the kernel."""
        self._consumer[0] = batch.end
