"""The stream over a real pipe, and over writes that end at every byte."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap.stream.output import Buffer, Output, ReaderGoneError

BUFFERS: list[Buffer] = [b"one", b"", memoryview(b"twelve"), b"x", b""]
WHOLE = b"".join(bytes(buffer) for buffer in BUFFERS)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(fd)


class Trickle:
    """A writev(2) that takes the given numbers of bytes, then all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: list[int]) -> None:
        self.written = b""
        self._takes = iter(takes)
        monkeypatch.setattr(os, "writev", self._writev)

    def _writev(self, _fd: int, buffers: list[Buffer]) -> int:
        whole = b"".join(bytes(buffer) for buffer in buffers)
        take = next(self._takes, len(whole))
        if take == 0:
            raise BlockingIOError
        self.written += whole[:take]
        return min(take, len(whole))


@pytest.mark.parametrize("first", range(1, len(WHOLE) + 1))
def test_a_write_may_end_at_every_byte(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int], first: int
) -> None:
    trickle = Trickle(monkeypatch, [first])
    assert Output(pipe[1]).send(BUFFERS)
    assert trickle.written == WHOLE


def test_two_writes_may_end_at_any_two_bytes(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    for pair in itertools.product(range(1, len(WHOLE)), repeat=2):
        trickle = Trickle(monkeypatch, list(pair))
        assert Output(pipe[1]).send(BUFFERS)
        assert trickle.written == WHOLE


@pytest.mark.parametrize("first", range(1, len(WHOLE)))
def test_a_full_stream_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int], first: int
) -> None:
    trickle = Trickle(monkeypatch, [first, 0, 1, 0])
    output = Output(pipe[1])
    assert not output.send(BUFFERS)
    assert trickle.written == WHOLE[:first]
    assert not output.send([b" and more"]) or first == len(WHOLE) - 1
    assert output.flush()
    assert trickle.written == WHOLE + b" and more"


def test_what_is_not_written_is_known(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    Trickle(monkeypatch, [5, 0])
    output = Output(pipe[1])
    assert not output.send([b"one", b"", b"four", b"five"])
    assert output.unwritten == (2, (b"four", b"five"))
    assert output.flush()
    assert not output.unwritten[1]


def test_a_real_pipe_that_is_full(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    output = Output(write_fd)
    block = bytes(range(256)) * 1024
    sent = 0
    while output.send([block]):
        sent += 1
    sent += 1
    read = b""
    while not output.flush():
        read += os.read(read_fd, 10_001)
    os.close(write_fd)
    while more := os.read(read_fd, 1 << 20):
        read += more
    assert read == block * sent


def test_more_buffers_than_one_write_takes(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    buffers = [number.to_bytes(4, "little") for number in range(3000)]
    assert Output(write_fd).send(buffers)
    assert os.read(read_fd, 20_000) == b"".join(buffers)


def test_a_reader_that_is_gone(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    os.close(read_fd)
    with pytest.raises(ReaderGoneError):
        Output(write_fd).send([b"nobody"])


def test_a_disk_that_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        output = Output(full.fileno())
        assert not output.is_pipe
        with pytest.raises(OSError, match="No space left on device"):
            output.send([b"too much"])


def test_nothing_to_write_is_written_at_once(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    assert output.is_pipe
    assert output.send([])
    assert output.flush()
