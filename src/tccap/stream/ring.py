"""Reading the ring of packet blocks in place.

bpf/ring.h describes its memory. The reader takes all that is before the first
unfinished block, so Python neither copies nor reads packets, and its work does not
depend on their number. Messages are beside the ring, each with its position there: a
batch ends at it, and a block that belongs to a message is taken out.
"""

import heapq
import itertools
import mmap
import threading
from collections.abc import Mapping
from typing import NamedTuple

from tccap.stream.abi import PAGE_LEN, RING_GRANULE_LEN, RING_LINE, RingShape
from tccap.stream.messages import Message, Messages

MORE_LEN = 1 << 16
LOOK_AGAIN_S = 0.01  # processors make writes visible in much less
BATCH_LEN = 1 << 20  # at most; a batch keeps its room until it is written
# Words of struct ring_control (bpf/abi.h); then come those of struct unfinished for
# each CPU, which chunks moved, and the starts.
_END, _RELEASED, _WAKES_AT = range(3)


class Batch(NamedTuple):
    """Blocks that stay where they are until `Ring.release`; then perhaps a message."""

    blocks: memoryview
    message: bytes  # the block that belongs to it comes first; empty: none
    end: int  # the position behind all of it

    def __bool__(self) -> bool:
        """Return whether there is something in it."""
        return bool(self.blocks or self.message)


class Memory(NamedTuple):
    """What the programs and the reader share."""

    chunks: memoryview  # of bytes
    control: memoryview  # of u64

    @classmethod
    def map(cls, fds: Mapping[str, int], shape: RingShape) -> "Memory":
        """Map the maps of these names."""
        chunks_len = shape.chunks * shape.chunk_size
        both = mmap.PROT_READ | mmap.PROT_WRITE
        return cls(
            _mapped(fds["ring_chunks"], chunks_len, mmap.PROT_READ),
            _mapped(fds["ring_control"], 8 * shape.control_words, both).cast("Q"),
        )


class Ring:
    """The reader of the ring."""

    def __init__(self, memory: Memory, shape: RingShape, messages: Messages) -> None:
        self.fd = messages.fd  # readable when something has come
        self._chunks, self._control = memory
        self._length = shape.length
        self._batch_len = min(BATCH_LEN, shape.length // 4)
        self._chunk_len = shape.chunk_len
        self._chunk_size = shape.chunk_size
        self._unfinished = range(RING_LINE, shape.moved_at, RING_LINE)
        self._moved_at = shape.moved_at
        self._starts_at = shape.starts_at
        self._messages = messages
        self._fence = threading.Lock()
        self._waiting: list[tuple[int, int, Message]] = []  # a heap
        self._numbers = itertools.count()
        self._has_just_asked = True
        self._position = self._control[_RELEASED]
        self._limit = self._position  # what is before it is finished

    def take(self) -> Batch:
        """Return the finished blocks that come next, perhaps none.

        The batch before must have been released.
        """
        if self._position == self._limit:
            self._look()
        start = self._position
        if not self._is_due():
            end = self._cut(start, self._limit)
            return Batch(self._view(start, end), b"", end)
        message = self._waiting[0][2]
        end = self._cut(start, max(start, message.position))
        blocks = self._view(start, end)
        if end < message.position:
            return Batch(blocks, b"", end)
        heapq.heappop(self._waiting)
        behind = end + message.block_len
        return Batch(blocks, bytes(self._view(end, behind)) + message.text, behind)

    def release(self, batch: Batch) -> None:
        """Return the room of a batch to the programs."""
        self._order()
        self._position = self._control[_RELEASED] = batch.end

    def has_more(self) -> bool:
        """Return whether to call `take` again at once."""
        if self._position < self._limit or self._is_due():
            return True
        return self._control[_END] - self._position > MORE_LEN

    def is_idle(self) -> bool:
        """Return whether there is nothing in the ring, not even an unfinished block.

        Then the next block, or message, makes `fd` readable, or it is found after
        `look_again_s`.
        """
        self._has_just_asked = self._control[_WAKES_AT] != self._position
        self._control[_WAKES_AT] = self._position
        self._order()
        return self._control[_END] == self._position and not self._waiting

    def await_much(self) -> None:
        """Have `fd` become readable when an eighth of the ring is filled."""
        self._control[_WAKES_AT] = self._position + self._length // 8

    @property
    def look_again_s(self) -> float | None:
        """Return after how many seconds to look once more; None: never.

        A block that began while the reader asked to be woken up may not have seen that,
        and not have been seen (bpf/ring.h).
        """
        return LOOK_AGAIN_S if self._has_just_asked else None

    def _look(self) -> None:
        """See up to where all is finished, and take the messages that belong there.

        The order matters: a message is sent before its block is finished.
        """
        limit = self._control[_END]
        self._order()
        for at in self._unfinished:
            if begun := self._control[at]:
                limit = min(limit, begun - 1)
        self._order()
        messages, are_all = self._messages.take()
        for message in messages:
            entry = (message.position, next(self._numbers), message)
            heapq.heappush(self._waiting, entry)
        if are_all:
            self._limit = limit

    def _order(self) -> None:
        """Have accesses of memory before this happen before those behind it.

        Taking a lock that was released orders them, on every processor.
        """
        for _ in range(2):
            with self._fence:
                pass

    def _is_due(self) -> bool:
        """Return whether the first message belongs into what is finished."""
        if not self._waiting:
            return False
        message = self._waiting[0][2]
        return message.position + message.block_len <= self._limit

    def _cut(self, start: int, end: int) -> int:
        """Return where to end a batch: in one chunk, and not too long, if possible."""
        boundary = start - start % self._chunk_len + self._chunk_len
        if end > boundary:
            end = self._first_start(boundary, end)
        if end - start > self._batch_len:
            end = self._first_start(start + self._batch_len, end)
        return end

    def _first_start(self, position: int, end: int) -> int:
        """Return the first known start of a block from a position on, at most ``end``.

        ``position`` is a multiple of the granule, or it does not matter.
        """
        first = -(-position // RING_GRANULE_LEN)
        for granule in range(first, end // RING_GRANULE_LEN + 1):
            at = granule % (self._length // RING_GRANULE_LEN)
            start: int = self._control[self._starts_at + at]
            if start // RING_GRANULE_LEN == granule:
                return min(start, end)
        return end

    def _view(self, start: int, end: int) -> memoryview:
        chunk = start // self._chunk_len % (self._length // self._chunk_len)
        memory = chunk ^ self._control[self._moved_at + chunk]
        at = memory * self._chunk_size + start % self._chunk_len
        return self._chunks[at : at + end - start]


def _mapped(fd: int, length: int, access: int) -> memoryview:
    pages = -(-length // PAGE_LEN)
    mapped = mmap.mmap(fd, pages * PAGE_LEN, mmap.MAP_SHARED, access)
    return memoryview(mapped)[:length]
