"""The part of io_uring(7) that makes a kernel worker thread connect and send."""

import ctypes
import mmap
import os
import socket
import struct
from typing import Self

_SETUP, _ENTER = 425, 426  # the same numbers on all architectures
_ENTER_GETEVENTS = 1
_OFF_SQES = 0x10000000
_SQE_LEN = 64
_OP_CONNECT, _OP_SEND = 16, 26
_ASYNC = 16  # IOSQE_ASYNC: always by a worker thread
_libc = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    """Return whether the kernel has io_uring, and allows us to use it."""
    try:
        Ring().close()
    except OSError:
        return False
    return True


class Ring:
    """A ring that takes one request at a time."""

    def __init__(self) -> None:
        params = ctypes.create_string_buffer(120)
        self._fd = _syscall(_SETUP, 1, params)
        fields = struct.unpack("40x 7I12x 6I16x", params.raw)
        self._tail_at, self._array_at = fields[1], fields[6]
        self._head_at, self._cqes_at = fields[7], fields[12]
        # Since Linux 5.4 one mapping holds both queues.
        self._ring = mmap.mmap(self._fd, mmap.PAGESIZE)
        self._sqes = mmap.mmap(self._fd, _SQE_LEN, offset=_OFF_SQES)

    def connect(self, fd: int, address: str, port: int) -> None:
        """Connect to an IPv4 address."""
        where = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port)
        where += socket.inet_aton(address) + bytes(8)
        assert self._do(_OP_CONNECT, fd, where, 0, len(where)) == 0

    def send(self, fd: int, data: bytes) -> None:
        """Send all of it."""
        assert self._do(_OP_SEND, fd, data, len(data), 0) == len(data)

    def _do(self, operation: int, fd: int, data: bytes, length: int, off: int) -> int:
        buffer = ctypes.create_string_buffer(data, len(data))
        sqe = struct.pack(
            "=BBHiQQI", operation, _ASYNC, 0, fd, off, ctypes.addressof(buffer), length
        )
        self._sqes[:_SQE_LEN] = sqe.ljust(_SQE_LEN, b"\0")
        self._put(self._array_at, 0)
        self._put(self._tail_at, self._get(self._tail_at) + 1)
        _syscall(_ENTER, self._fd, 1, 1, _ENTER_GETEVENTS, None, 0)
        head = self._get(self._head_at)
        result = struct.unpack_from("=8xi", self._ring, self._cqes_at + head % 2 * 16)
        self._put(self._head_at, head + 1)
        return int(result[0])

    def _get(self, at: int) -> int:
        return int(struct.unpack_from("=I", self._ring, at)[0])

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("=I", self._ring, at, value)

    def close(self) -> None:
        """Unmap and close the ring."""
        self._sqes.close()
        self._ring.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _syscall(*arguments: object) -> int:
    result: int = _libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
