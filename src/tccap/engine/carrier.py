"""Carrying blocks from the ring to the stream.

A batch of finished blocks keeps its place in the ring until the reader has taken it: a
slow reader makes the ring fill up, and the classifier counts what then finds no room.
When the stream would block, the loop waits for the reader instead of for the ring.
"""

import os
import select
import time
from collections.abc import Callable, Iterable

from tccap.engine.events import Events, nothing
from tccap.errors import TccapError
from tccap.stream import abi, blocks
from tccap.stream.output import Buffer, Output, ReaderGoneError
from tccap.stream.ring import Batch, Ring

# On stop: the rest is given up when the reader takes nothing for so long.
STALL_S = 0.5
# How soon to look again when a program is still writing into the ring.
UNFINISHED_S = 0.0005


class Writer:
    """The stream; its errors are sentences. ReaderGoneError when nobody reads it."""

    def __init__(self, fd: int) -> None:
        self._output = Output(fd)
        self.fd = fd
        self.is_pipe = self._output.is_pipe

    def send(self, *buffers: Buffer) -> bool:
        """Write blocks behind those that wait; return whether all are gone."""
        return self._guarded(lambda: self._output.send(buffers))

    def flush(self) -> bool:
        """Write the blocks that wait; return whether all are gone."""
        return self._guarded(self._output.flush)

    @property
    def unwritten_packets(self) -> int:
        """Return how many packets wait, or are not written to their end."""
        written, buffers = self._output.unwritten
        if not buffers:
            return 0
        first = blocks.count_packets(buffers[0], after=written)
        return first + sum(map(blocks.count_packets, buffers[1:]))

    def close(self) -> None:
        """End the stream."""
        os.close(self.fd)

    def _guarded(self, write: Callable[[], bool]) -> bool:
        try:
            return write()
        except OSError as error:
            raise TccapError(
                f"The packets cannot be written: {error.strerror}; "
                "the file ends at this point."
            ) from None


class Carrier:
    """Takes batches from the ring; ``answer`` returns the blocks for a message."""

    def __init__(
        self,
        events: Events,
        ring: Ring,
        writer: Writer,
        answer: Callable[[bytes], Iterable[Buffer]],
    ) -> None:
        self._events = events
        self._ring = ring
        self._writer = writer
        self._answer = answer
        self._batch: Batch | None = None
        self._is_blocked = False  # the stream is full, the ring has to wait
        events.watch(ring.fd, nothing)
        if writer.is_pipe:
            events.watch(writer.fd, _check_reader, events=0)

    def carry(self) -> bool:
        """Write one batch; return whether there was something in the ring."""
        if not self._flush():
            return False
        batch = self._ring.take()
        if batch:
            self._batch = batch
            self._writer.send(batch.blocks)
            if batch.message:
                self._writer.send(*self._answer(batch.message))
            self._flush()
        return bool(batch)

    @property
    def has_more(self) -> bool:
        """Return whether the ring has enough for another batch at once."""
        return self._ring.has_more()

    def may_sleep(self) -> bool:
        """Return whether there is nothing to do until the ring or the reader calls."""
        return not self._flush() or self._ring.is_idle()

    def await_much(self) -> None:
        """Be called when much has come, or the reader calls, and not for one block."""
        self._ring.await_much()

    @property
    def look_again_s(self) -> float | None:
        """Return how long to sleep at most; None: until something calls."""
        return self._ring.look_again_s

    @property
    def is_waiting(self) -> bool:
        """Return whether a batch waits for the reader."""
        return self._batch is not None

    def carry_rest(self, deadline: float) -> bool:
        """Empty the ring into the stream; return whether the reader took it all.

        ``deadline`` is of time.monotonic().
        """
        while self.flush_until(deadline):
            has_carried = self.carry()
            if not has_carried and self._ring.is_idle():
                return self.flush_until(deadline)
            if time.monotonic() >= deadline:
                return False
            if not has_carried:
                time.sleep(UNFINISHED_S)
        return False

    def flush_until(self, deadline: float) -> bool:
        """Write the blocks that wait, as long as the reader takes some of them."""
        reader = select.poll()
        reader.register(self._writer.fd, select.POLLOUT)
        while not self._flush():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not reader.poll(1000 * min(STALL_S, left_s)):
                return False
        return True

    def undelivered(self) -> int:
        """Return how many packets the reader did not take, or not to their end."""
        count = self._writer.unwritten_packets
        if self._batch:
            self._ring.release(self._batch)
        while batch := self._ring.take():
            count += blocks.count_packets(batch.blocks)
            count += abi.has_packet(batch.message)
            self._ring.release(batch)
        return count

    def _flush(self) -> bool:
        """Write the blocks that wait; return whether the stream takes more."""
        done = self._writer.flush()
        if done and self._batch:
            self._ring.release(self._batch)
            self._batch = None
        self._wait_for_reader(blocked=not done)
        return done

    def _wait_for_reader(self, *, blocked: bool) -> None:
        """Wait for the reader while the stream is full, else for the ring."""
        if self._writer.is_pipe and blocked != self._is_blocked:
            self._is_blocked = blocked
            self._events.change(self._writer.fd, select.EPOLLOUT if blocked else 0)
            self._events.change(self._ring.fd, 0 if blocked else select.EPOLLIN)


def _check_reader(events: int) -> None:
    if events & select.EPOLLERR:
        raise ReaderGoneError
