"""The kernel's side of a BPF ring buffer, in a memory file."""

import mmap
import os
import struct
from collections.abc import Callable

from tccap.stream.abi import PAGE_LEN
from tccap.stream.messages import Message
from tccap.stream.ringbuffer import BUSY, DISCARDED

__all__ = ["BUSY", "DISCARDED", "Kernel"]


class Kernel:
    """Writes records as kernel/bpf/ringbuf.c does.

    The kernel maps the data pages twice; a file cannot be, so what is written to one
    half is written to the other as well.
    """

    def __init__(self, data_len: int) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE_LEN + 2 * data_len)
        self._pages = mmap.mmap(self.fd, 0)
        self._data_len = data_len
        self._produced = 0

    def start_at(self, position: int) -> None:
        """Be a ring that has been in use."""
        self._produced = position
        self._pages[:8] = struct.pack("=Q", position)
        self._publish()

    def raw(self, message: Message) -> bytes:
        """Return a message as the programs write it."""
        return struct.pack("=QQ", message.position, message.block_len) + message.text

    def send(self, message: Message) -> bool:
        """Write a message, if there is room."""
        return self.put(self.raw(message)) is not None

    def put(self, data: bytes, flags: int = 0) -> Callable[[], None] | None:
        """Write a record, if there is room; return what takes its flags away."""
        total = (len(data) + 8 + 7) & ~7
        at = self._produced
        if at + total - self._consumed > self._data_len:
            return None
        record = struct.pack("=II", len(data) | flags, 0xFFFFFFFF) + data
        self._write(at, record.ljust(total, b"\xee"))
        self._produced += total
        self._publish()
        return lambda: self._write(at, record[:3] + b"\0")

    @property
    def _consumed(self) -> int:
        return int(struct.unpack_from("=Q", self._pages)[0])

    def _write(self, position: int, data: bytes) -> None:
        for offset, byte in enumerate(data):
            at = (position + offset) % self._data_len
            self._pages[2 * PAGE_LEN + at] = byte
            self._pages[2 * PAGE_LEN + self._data_len + at] = byte

    def _publish(self) -> None:
        self._pages[PAGE_LEN : PAGE_LEN + 8] = struct.pack("=Q", self._produced)

    def close(self) -> None:
        """Close the memory file."""
        os.close(self.fd)
