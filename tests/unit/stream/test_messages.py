"""The real reader on a ring buffer made here, laid out as the kernel's."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.ringbuf import BUSY, DISCARDED, Kernel
from tccap.stream.abi import PAGE_LEN
from tccap.stream.messages import Message, Messages


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel(4 * PAGE_LEN)
    yield made
    made.close()


@pytest.fixture
def reader(kernel: Kernel) -> Messages:
    return Messages(kernel.fd, 4 * PAGE_LEN)


def test_an_empty_ring(reader: Messages) -> None:
    assert reader.take() == ([], True)


def test_messages_come_in_order_and_once(kernel: Kernel, reader: Messages) -> None:
    sent = [Message(n, 4 * n, b"m" * n) for n in range(1, 20)]
    assert all(map(kernel.send, sent))
    assert reader.take() == (sent, True)
    assert reader.take() == ([], True)


def test_their_room_is_returned_at_once(kernel: Kernel, reader: Messages) -> None:
    message = Message(1, 0, bytes(2 * PAGE_LEN - 24))
    assert [kernel.send(message) for _ in range(3)] == [True, True, False]
    assert reader.take() == ([message] * 2, True)
    assert kernel.send(message)


def test_a_message_over_the_end_is_whole(kernel: Kernel, reader: Messages) -> None:
    kernel.start_at(4 * PAGE_LEN * 1000 - 16)
    message = Message(1, 0, bytes(range(100)))
    assert kernel.send(message)
    assert reader.take() == ([message], True)


def test_one_that_is_not_finished_hides_those_behind_it(
    kernel: Kernel, reader: Messages
) -> None:
    first, second, third = (Message(n, 0, b"text") for n in range(3))
    kernel.send(first)
    finish = kernel.put(kernel.raw(second), BUSY)
    kernel.send(third)
    assert reader.take() == ([first], False)
    assert reader.take() == ([], False)
    assert finish
    finish()
    assert reader.take() == ([second, third], True)


def test_what_was_given_up_is_passed_over(kernel: Kernel, reader: Messages) -> None:
    kept = Message(5, 0, b"kept")
    kernel.put(bytes(8), DISCARDED)  # as short as one that only wakes
    kernel.send(kept)
    kernel.put(bytes(40), DISCARDED)
    assert reader.take() == ([kept], True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1 << 40), st.lists(st.integers(0, 300), max_size=60))
def test_all_come_out(start: int, lengths: list[int]) -> None:
    kernel = Kernel(PAGE_LEN)
    kernel.start_at(8 * start)
    reader = Messages(kernel.fd, PAGE_LEN)
    sent, found = [], []
    for number, length in enumerate(lengths):
        sent.append(Message(number, 0, bytes([number]) * length))
        while not kernel.send(sent[-1]):
            found += reader.take()[0]
    assert [*found, *reader.take()[0]] == sent
    kernel.close()
