"""Names of Unix sockets in this network namespace, with their owners (sock_diag(7))."""

import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from tccap.host import netlink

# include/uapi/linux: netlink.h, sock_diag.h, unix_diag.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_SHOW_NAME, _SHOW_UID = 0x1, 0x40
_NAME, _UID = 0, 7
_QUERY = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_EVERY_STATE = 0xFFFFFFFF
_ANSWER_LEN = 16  # struct unix_diag_msg


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
    shown = _SHOW_NAME | _SHOW_UID
    query = _QUERY.pack(socket.AF_UNIX, 0, 0, _EVERY_STATE, 0, shown, 0, 0)
    with netlink.connect(_NETLINK_SOCK_DIAG) as connection:
        for answer in netlink.ask(connection, _SOCK_DIAG_BY_FAMILY, query, dump=True):
            found = netlink.attributes(answer[_ANSWER_LEN:])
            if _NAME in found:
                uid = found.get(_UID)
                yield found[_NAME], int.from_bytes(uid, sys.byteorder) if uid else None


def _listed() -> Iterator[tuple[bytes, None]]:
    """Yield the names in proc(5), which shows the zero byte as @."""
    for line in Path("/proc/self/net/unix").read_bytes().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8:
            name = fields[7]
            yield b"\0" + name[1:] if name.startswith(b"@") else name, None
