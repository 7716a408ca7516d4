"""Reading a BPF ring buffer in place.

Its pages are mapped into our memory. The layout is the kernel's (kernel/bpf/ringbuf.c):
a page with the consumer's position, a page with the producer's position, then the data,
mapped twice in a row so that no record wraps. A record is a u32 length with two flags,
a u32 for the kernel's own use, and the data, padded to 8 bytes.
"""

import mmap

from tccap.stream.abi import PAGE_LEN

_HEADER_LEN = 8
BUSY = 1 << 31  # still being written
DISCARDED = 1 << 30
_LEN_MASK = DISCARDED - 1


class RingBuffer:
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

    def take(self) -> tuple[list[bytes], bool]:
        """Return the records that have come, and whether these are all that began.

        A record that is still being written hides those behind it.
        """
        end = self._producer[0]
        found: list[bytes] = []
        while (position := self._consumer[0]) < end:
            at = position & self._mask
            length = self._words[at >> 2]
            if length & BUSY:
                return found, False
            if not length & DISCARDED:
                at += _HEADER_LEN
                found.append(bytes(self._data[at : at + length]))
            length &= _LEN_MASK
            self._consumer[0] = position + ((length + _HEADER_LEN + 7) & ~7)
        return found, True
