"""The real reader on a ring made here: a memory file laid out as the kernel's."""

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tccap.stream import abi, ring
from tccap.stream.abi import PAGE_LEN
from tccap.stream.ring import BATCH_BLOCKS, BATCH_BYTES, BUSY, DISCARDED, Ring


class Kernel:
    """The other side: writes records as kernel/bpf/ringbuf.c does.

    The kernel maps the data pages twice; a file cannot be, so what is written
    to one half is written to the other as well.
    """

    def __init__(self, data_len: int) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE_LEN + 2 * data_len)
        self._pages = mmap.mmap(self.fd, 0)
        self._data_len = data_len
        self.reader = Ring(self.fd, data_len)
        self._produced = 0

    def start_at(self, position: int) -> None:
        """Be a ring that has been in use."""
        self._produced = position
        self._pages[:8] = struct.pack("=Q", position)
        self._publish()

    def put(self, data: bytes, flags: int = 0) -> bool:
        """Write a record, if there is room."""
        total = (len(data) + 8 + 7) & ~7
        if self._produced + total - self.consumed > self._data_len:
            return False
        record = struct.pack("=II", len(data) | flags, 0xFFFFFFFF) + data
        for offset, byte in enumerate(record.ljust(total, b"\xee")):
            at = (self._produced + offset) % self._data_len
            self._pages[2 * PAGE_LEN + at] = byte
            self._pages[2 * PAGE_LEN + self._data_len + at] = byte
        self._produced += total
        self._publish()
        return True

    @property
    def consumed(self) -> int:
        return int(struct.unpack_from("=Q", self._pages)[0])

    def _publish(self) -> None:
        self._pages[PAGE_LEN : PAGE_LEN + 8] = struct.pack("=Q", self._produced)

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel(4 * PAGE_LEN)
    yield made
    made.close()


def _taken(reader: Ring) -> list[bytes]:
    batch = reader.take()
    blocks = [bytes(block) for block in batch.blocks]
    reader.release(batch)
    return blocks


def test_an_empty_ring(kernel: Kernel) -> None:
    assert _taken(kernel.reader) == []
    assert kernel.consumed == 0


def test_blocks_come_in_order_and_once(kernel: Kernel) -> None:
    blocks = [b"a" * 4, b"b" * 8, b"c" * 12, b"d" * 100]
    for block in blocks:
        assert kernel.put(block)
    assert _taken(kernel.reader) == blocks
    assert _taken(kernel.reader) == []
    assert kernel.consumed == 16 + 16 + 24 + 112


def test_room_comes_back_with_release_only(kernel: Kernel) -> None:
    block = bytes(2 * PAGE_LEN - 8)
    assert kernel.put(block)
    assert kernel.put(block)
    batch = kernel.reader.take()
    assert not kernel.put(b"more")
    kernel.reader.release(batch)
    assert kernel.put(b"more")
    assert _taken(kernel.reader) == [b"more"]


def test_a_record_over_the_end_is_whole(kernel: Kernel) -> None:
    kernel.start_at(4 * PAGE_LEN * 1000 - 16)
    block = bytes(range(100))
    assert kernel.put(block)
    assert _taken(kernel.reader) == [block]


def test_busy_ends_a_batch_and_is_taken_later(kernel: Kernel) -> None:
    kernel.put(b"done")
    kernel.put(b"half", BUSY)
    kernel.put(b"late")
    assert _taken(kernel.reader) == [b"done"]
    assert _taken(kernel.reader) == []
    at = 2 * PAGE_LEN + 16
    kernel._pages[at : at + 4] = struct.pack("=I", 4)
    assert _taken(kernel.reader) == [b"half", b"late"]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 4095])
def test_a_message_ends_a_batch(kernel: Kernel, length: int) -> None:
    kernel.put(b"before")
    kernel.put(b"before..")
    kernel.put(b"m" * length)
    kernel.put(b"after...")
    kernel.put(b"m" * length, DISCARDED)
    first = kernel.reader.take()
    assert first.message == b"before"  # six bytes are no block
    kernel.reader.release(first)
    second = kernel.reader.take()
    assert [bytes(block) for block in second.blocks] == [b"before.."]
    assert second.message == b"m" * length
    kernel.reader.release(second)
    assert _taken(kernel.reader) == [b"after..."]
    assert kernel.reader.take().message == b""


def test_discarded_records_are_passed_over(kernel: Kernel) -> None:
    kernel.put(bytes(40), DISCARDED)
    kernel.put(b"kept")
    kernel.put(bytes(4), DISCARDED)
    assert _taken(kernel.reader) == [b"kept"]
    assert kernel.consumed == 48 + 16 + 16


def test_a_batch_has_a_limit_of_blocks() -> None:
    kernel = Kernel(32 * PAGE_LEN)
    for number in range(BATCH_BLOCKS + 10):
        assert kernel.put(struct.pack("=I", number))
    first, second = _taken(kernel.reader), _taken(kernel.reader)
    assert (len(first), len(second)) == (BATCH_BLOCKS, 10)
    assert [*first, *second] == [
        struct.pack("=I", number) for number in range(BATCH_BLOCKS + 10)
    ]
    kernel.close()


def test_a_batch_has_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "BATCH_BYTES", 100)
    kernel = Kernel(4 * PAGE_LEN)
    for _ in range(10):
        assert kernel.put(bytes(32))
    # The record in which the limit lies is still taken.
    assert [len(_taken(kernel.reader)) for _ in range(5)] == [3, 3, 3, 1, 0]
    kernel.close()


def test_has_more_means_a_batch_that_is_worth_a_write(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    monkeypatch.setattr(ring, "MORE_BYTES", 100)
    for _ in range(3):
        kernel.put(bytes(32))
    assert kernel.reader.has_more()
    kernel.reader.release(kernel.reader.take())
    assert not kernel.reader.has_more()
    kernel.put(bytes(84))
    assert not kernel.reader.has_more()
    kernel.put(bytes(4))
    assert kernel.reader.has_more()


def test_blocks_behind_a_message_do_not_wait_for_more(kernel: Kernel) -> None:
    kernel.put(bytes(9))
    kernel.put(bytes(32))
    assert not kernel.reader.has_more()
    kernel.reader.release(kernel.reader.take())
    assert kernel.reader.has_more()
    kernel.reader.release(kernel.reader.take())
    assert not kernel.reader.has_more()


def test_frames_of_64_kib_never_wait_for_a_batch_to_fill() -> None:
    """A pause behind each of them would let the ring run over."""
    assert ring.MORE_BYTES <= 1 << 16


def test_a_batch_holds_at_least_the_largest_block() -> None:
    assert abi.BLOCK_MAX <= BATCH_BYTES
    assert os.sysconf("SC_IOV_MAX") >= BATCH_BLOCKS


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 1 << 40).map(lambda n: n * 8),
    st.lists(
        st.tuples(st.integers(1, 300).map(lambda n: 4 * n), st.booleans()),
        max_size=60,
    ),
)
def test_all_blocks_and_messages_come_out(
    start: int, records: list[tuple[int, bool]]
) -> None:
    kernel = Kernel(PAGE_LEN)
    kernel.start_at(start)
    wanted, found = [], []
    for number, (length, discarded) in enumerate(records):
        block = bytes([number]) * length
        while not kernel.put(block, DISCARDED if discarded else 0):
            found += _taken(kernel.reader)
        wanted += [] if discarded else [block]
    while taken := _taken(kernel.reader):
        found += taken
    assert found == wanted
    kernel.close()
