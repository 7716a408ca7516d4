"""The real reader on a ring made here, by programs that may stop anywhere."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.ringbuf import BUSY, Kernel
from tccap.stream import ring
from tccap.stream.abi import PAGE_LEN, RingShape
from tccap.stream.messages import Message, Messages
from tccap.stream.ring import Memory, Ring

GRANULE_LEN, BATCH_LEN, BLOCK_MAX = 64, 256, 160
SHAPE = RingShape(2048, 512, PAGE_LEN, BLOCK_MAX, cpus=3)
CHUNK_SIZE = SHAPE.chunk_len + BLOCK_MAX
NEVER = (1 << 64) - 1


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRANULE_LEN", "BATCH_LEN"):
        full = "RING_GRANULE_LEN" if name == "GRANULE_LEN" else name
        monkeypatch.setattr(ring, full, globals()[name])


class Programs:
    """The other side: bpf/ring.h, block by block."""

    def __init__(self, shape: RingShape = SHAPE, start: int = 0) -> None:
        self.shape = shape
        self.kernel = Kernel(shape.messages_len)
        granules = shape.length // GRANULE_LEN
        self._chunks = bytearray(b"\xee") * (CHUNK_SIZE * shape.chunks)
        words = shape.starts_at + granules
        self.control = memoryview(bytearray(8 * words)).cast("Q")
        self._moved = self.control[shape.moved_at :]
        self._starts = self.control[shape.starts_at :]
        self._unfinished = self.control[8:]
        self.control[0] = self.control[1] = start
        self.control[2] = NEVER
        memory = Memory(memoryview(self._chunks), self.control)
        messages = Messages(self.kernel.fd, shape.messages_len)
        self.reader = Ring(memory, shape, messages)
        self.woken = 0

    def begin(self, block: bytes, cpu: int = 0) -> Callable[[], None] | None:
        """Begin a block, if there is room; return what finishes it."""
        position = self.control[0]
        end = position + len(block)
        if end - self.control[1] > self.shape.length:
            return None
        assert not self._unfinished[8 * cpu]
        self._unfinished[8 * cpu] = position + 1
        if position // GRANULE_LEN != end // GRANULE_LEN:
            granule = end // GRANULE_LEN % (self.shape.length // GRANULE_LEN)
            self._starts[granule] = end
        if position // self.shape.chunk_len != end // self.shape.chunk_len:
            self._place(end // self.shape.chunk_len)
        self.control[0] = end
        wakes = end > self.control[2]
        if wakes:
            self.control[2] = NEVER

        def finish() -> None:
            at = self._memory(position // self.shape.chunk_len) * CHUNK_SIZE
            at += position % self.shape.chunk_len
            self._chunks[at : at + len(block)] = block
            self._unfinished[8 * cpu] = 0
            self.woken += wakes

        return finish

    def _memory(self, chunk: int) -> int:
        chunk %= self.shape.chunks
        return chunk ^ self._moved[chunk]

    def _place(self, chunk: int) -> None:
        """Give a chunk the memory of the one that was released last."""
        first = self.control[1] // self.shape.chunk_len
        if chunk - first >= self.shape.chunks:
            return
        pair = [each % self.shape.chunks for each in (chunk, first - 1)]
        memories = [self._memory(each) for each in pair]
        for each, memory in zip(pair, reversed(memories), strict=True):
            self._moved[each] = each ^ memory

    def write(self, block: bytes) -> bool:
        """Write a block, if there is room."""
        finish = self.begin(block)
        if finish:
            finish()
        return finish is not None

    def send(self, text: bytes, block_len: int = 0) -> None:
        """Send a message that belongs here, or to the block that comes next."""
        assert self.kernel.send(Message(self.control[0], block_len, text))

    def close(self) -> None:
        """Close the ring buffer."""
        self.kernel.close()


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.close()


def _taken(reader: Ring) -> list[bytes]:
    """Return all that there is: blocks together, and messages in their places."""
    found: list[bytes] = []
    while batch := reader.take():
        found += [text for text in (bytes(batch.blocks), batch.message) if text]
        reader.release(batch)
    return found


def test_an_empty_ring(programs: Programs) -> None:
    assert not programs.reader.take()


def test_blocks_come_together_in_order_and_once(programs: Programs) -> None:
    for block in (b"a" * 16, b"b" * 8, b"c" * 40):
        assert programs.write(block)
    assert _taken(programs.reader) == [b"a" * 16 + b"b" * 8 + b"c" * 40]
    assert _taken(programs.reader) == []


def test_room_comes_back_with_release_only(programs: Programs) -> None:
    while programs.write(bytes(128)):
        pass
    batch = programs.reader.take()
    assert not programs.write(b"more")
    programs.reader.release(batch)
    assert programs.write(b"more")


def test_a_block_over_the_end_of_a_chunk_is_whole(programs: Programs) -> None:
    block = bytes(range(100))
    wanted = b""
    for _ in range(200):  # nearly ten times round
        assert programs.write(block)
        wanted += block
        if len(wanted) == 10 * len(block):
            assert b"".join(_taken(programs.reader)) == wanted
            wanted = b""


def test_an_unfinished_block_ends_a_batch(programs: Programs) -> None:
    programs.write(b"done")
    finish = programs.begin(b"half", cpu=1)
    programs.write(b"late")
    assert _taken(programs.reader) == [b"done"]
    assert not programs.reader.is_idle()
    assert finish
    finish()
    assert _taken(programs.reader) == [b"halflate"]
    assert programs.reader.is_idle()


def test_a_message_stands_between_the_blocks(programs: Programs) -> None:
    programs.write(b"before")
    programs.send(b"one")
    programs.send(b"two")
    programs.write(b"behind")
    assert _taken(programs.reader) == [b"before", b"one", b"two", b"behind"]


def test_a_message_waits_for_the_blocks_before_it(programs: Programs) -> None:
    finish = programs.begin(b"before", cpu=2)
    programs.send(b"message")
    assert _taken(programs.reader) == []
    assert finish
    finish()
    assert _taken(programs.reader) == [b"before", b"message"]


def test_a_message_that_comes_late_is_not_lost(programs: Programs) -> None:
    """A program at a kprobe was interrupted behind reading the position."""
    programs.write(b"block")
    assert _taken(programs.reader) == [b"block"]
    assert programs.kernel.send(Message(0, 0, b"late"))
    assert _taken(programs.reader) == [b"late"]


def test_a_block_of_a_message_is_taken_out(programs: Programs) -> None:
    programs.write(b"before")
    programs.send(b"tail", block_len=4)
    programs.write(b"held")
    programs.write(b"behind")
    assert _taken(programs.reader) == [b"before", b"heldtail", b"behind"]


def test_blocks_of_messages_may_come_in_another_order(programs: Programs) -> None:
    """Whoever takes its place in the ring first may send its message last."""
    first, second = (
        programs.begin(block, cpu) for cpu, block in enumerate((b"1", b"2"))
    )
    programs.kernel.send(Message(1, 1, b"two"))
    programs.kernel.send(Message(0, 1, b"one"))
    assert first
    assert second
    second()
    first()
    assert _taken(programs.reader) == [b"1one", b"2two"]


def test_no_block_overtakes_a_message_that_is_not_finished(programs: Programs) -> None:
    finish = programs.kernel.put(bytes(20), BUSY)
    programs.write(b"block")
    assert _taken(programs.reader) == []
    assert finish
    finish()
    assert _taken(programs.reader) == [bytes(4), b"block"]


def test_a_block_that_comes_during_the_look_waits_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    """Its message might not have been seen."""
    take = Messages.take

    def take_and_go_on(messages: Messages) -> tuple[list[Message], bool]:
        found = take(messages)
        monkeypatch.setattr(Messages, "take", take)
        programs.send(b"tail", block_len=4)
        programs.write(b"held")
        return found

    monkeypatch.setattr(Messages, "take", take_and_go_on)
    assert not programs.reader.take()
    assert _taken(programs.reader) == [b"heldtail"]


def test_a_batch_is_not_much_longer_than_its_limit(programs: Programs) -> None:
    for _ in range(400 // 20):
        programs.write(bytes(20))
    batches = []
    while batch := programs.reader.take():
        batches.append(len(batch.blocks))
        programs.reader.release(batch)
    assert sum(batches) == 400
    assert max(batches) <= BATCH_LEN + 2 * GRANULE_LEN
    assert all(length % 20 == 0 for length in batches)


def test_has_more_means_a_batch_that_is_worth_a_write(
    monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    monkeypatch.setattr(ring, "MORE_LEN", 100)
    programs.write(bytes(100))
    assert not programs.reader.has_more()
    programs.write(bytes(4))
    assert programs.reader.has_more()
    programs.reader.release(programs.reader.take())
    assert not programs.reader.has_more()
    programs.send(b"message")
    programs.write(bytes(4))
    programs.reader.release(programs.reader.take())
    assert programs.reader.has_more()  # the message has cut the batch short


def test_frames_of_64_kib_never_wait_for_a_batch_to_fill() -> None:
    """A pause behind each of them would let the ring run over."""
    assert ring.MORE_LEN <= 1 << 16


def test_only_the_block_after_an_idle_reader_wakes_it(programs: Programs) -> None:
    programs.write(b"unawaited")
    assert not programs.reader.is_idle()
    assert _taken(programs.reader)
    assert programs.reader.is_idle()
    programs.write(b"first")
    programs.write(b"second")
    assert programs.woken == 1


def test_a_reader_that_awaits_much_is_woken_once_by_an_eighth_of_the_ring(
    programs: Programs,
) -> None:
    eighth = SHAPE.length // 8
    programs.reader.await_much()
    programs.write(bytes(eighth))
    assert programs.woken == 0
    programs.write(bytes(4))
    programs.write(bytes(4))
    assert programs.woken == 1


def test_who_falls_asleep_looks_once_more(programs: Programs) -> None:
    """A block that began meanwhile may have seen no reason to wake it."""
    for _ in range(2):
        assert programs.reader.is_idle()
        assert programs.reader.look_again_s
        assert programs.reader.is_idle()
        assert programs.reader.look_again_s is None
        programs.write(b"block")
        assert _taken(programs.reader) == [b"block"]


def test_a_reader_is_not_idle_while_a_block_is_unfinished(programs: Programs) -> None:
    finish = programs.begin(b"block")
    assert not programs.reader.is_idle()
    assert finish
    finish()
    assert not programs.reader.is_idle()
    assert _taken(programs.reader) == [b"block"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 2), st.integers(1, BLOCK_MAX // 4)),
        st.tuples(st.just("hold"), st.integers(0, 2), st.integers(1, BLOCK_MAX // 4)),
        st.tuples(st.just("finish"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("message"), st.just(0), st.just(0)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 1 << 40), STEPS)
def test_all_comes_out_in_its_place(
    start: int, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever the order in which three CPUs write, and whenever the reader looks."""
    schedule = _Schedule(4 * start)
    for kind, cpu, words in steps:
        match kind:
            case "begin" | "hold":
                schedule.begin(cpu, 4 * words, is_held=kind == "hold")
            case "finish":
                schedule.finish(cpu)
            case "message":
                schedule.message()
            case _:
                schedule.take()
    for cpu in range(SHAPE.cpus):
        schedule.finish(cpu)
    schedule.take()
    assert b"".join(schedule.found) == b"".join(schedule.wanted)
    assert schedule.programs.reader.is_idle()
    schedule.programs.close()


class _Schedule:
    """A ring and what has to come out of it."""

    def __init__(self, start: int) -> None:
        self.programs = Programs(start=start)
        self.wanted: list[bytes] = []
        self.found: list[bytes] = []
        self._running: dict[int, Callable[[], None]] = {}
        self._number = 0

    def begin(self, cpu: int, length: int, *, is_held: bool) -> None:
        block = self._next().ljust(length, b".")[:length]
        position = self.programs.control[0]
        finish = None if cpu in self._running else self.programs.begin(block, cpu)
        if not finish:
            return
        self._running[cpu] = finish
        self.wanted.append(block)
        if is_held:
            tail = self._next()
            assert self.programs.kernel.send(Message(position, length, tail))
            self.wanted.append(tail)

    def finish(self, cpu: int) -> None:
        self._running.pop(cpu, lambda: None)()

    def message(self) -> None:
        self.wanted.append(self._next())
        self.programs.send(self.wanted[-1])

    def take(self) -> None:
        self.found += _taken(self.programs.reader)

    def _next(self) -> bytes:
        self._number += 1
        return b"%d|" % self._number
