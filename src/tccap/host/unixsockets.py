"""Names of Unix sockets in this network namespace, with their owners (sock_diag(7))."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

# include/uapi/linux: netlink.h, sock_diag.h, unix_diag.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_SHOW_NAME, _SHOW_UID = 0x1, 0x40
_NAME, _UID = 0, 7
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_QUERY = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_ANSWER_LEN = 16  # struct unix_diag_msg
_MESSAGES_LEN = 1 << 16


def named() -> Iterator[tuple[bytes, int | None]]:
    """Yield the name of each bound socket and the user id that made it.

    An abstract name starts with a zero byte. The user id is None where the kernel does
    not say it: before Linux 5.3, or without CONFIG_UNIX_DIAG.
    """
    try:
        yield from [*_dumped()]
    except OSError:
        yield from _listed()


def _dumped() -> Iterator[tuple[bytes, int | None]]:
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG
    ) as netlink:
        query = _QUERY.pack(
            *(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME | _SHOW_UID, 0, 0)
        )
        length = _HEADER.size + len(query)
        header = (length, _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, 1, 0)
        netlink.send(_HEADER.pack(*header) + query)
        for body in _bodies(netlink):
            attributes = dict(_attributes(body[_ANSWER_LEN:]))
            if _NAME in attributes:
                uid = attributes.get(_UID)
                yield attributes[_NAME], int.from_bytes(uid, "little") if uid else None


def _bodies(netlink: socket.socket) -> Iterator[bytes]:
    """Yield the messages of a dump, without their headers, to its end."""
    while True:
        data = netlink.recv(_MESSAGES_LEN)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            body = data[_HEADER.size : length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -int.from_bytes(body[:4], "little", signed=True)
                raise OSError(number, os.strerror(number))
            yield body
            data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _listed() -> Iterator[tuple[bytes, None]]:
    """Yield the names in proc(5), which shows the zero byte as @."""
    for line in Path("/proc/self/net/unix").read_bytes().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8:
            name = fields[7]
            yield b"\0" + name[1:] if name.startswith(b"@") else name, None
