"""netlink(7): requests with their answers, and notifications.

A library would be slow to import, and a user waits for the first packet. A request
about another network namespace names it (IFA_TARGET_NETNSID): nobody has to enter it.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Self

# include/uapi/linux/netlink.h
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
NEW = 0x600  # NLM_F_CREATE | NLM_F_EXCL: for what must not be there yet
_ERROR, _DONE = 2, 3
_ERRNO_LIMIT = 4096  # MAX_ERRNO + 1 of include/linux/err.h
_LISTEN_ALL_NSID, _GET_STRICT_CHK = 8, 12
_SOL_NETLINK = 270  # include/linux/socket.h
_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
_FPROG = struct.Struct("=H6xQ")  # struct sock_fprog
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, pid
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_RECEIVE_LEN = 1 << 16
_CONTROL_LEN = 256
OWN = -1  # our network namespace, in `Subscription.sources`


def connect(protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """Return a socket for `ask`; OSError before Linux 4.20."""
    connection = _socket(protocol)
    # Otherwise the kernel ignores attributes of a dump request.
    connection.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
    return connection


def ask(
    connection: socket.socket, message_type: int, body: bytes, *, dump: bool = False
) -> Iterator[bytes]:
    """Send a request; yield the body of each answer.

    ``message_type`` is RTM_* or another of the protocol. There is one answer, or with
    ``dump`` any number. OSError carries the errno that the kernel answers with; EBADMSG
    marks a malformed answer.
    """
    _send(connection, message_type, _DUMP if dump else 0, body)
    while True:
        data = connection.recv(_RECEIVE_LEN)
        while data:
            length, kind = _header(data)
            answer = data[_HEADER.size : length]
            if kind == _ERROR:
                code = _code(answer)
                raise OSError(code, os.strerror(code))
            if kind == _DONE:
                return
            yield answer
            data = data[_padded(length) :]
        if not dump:
            return


def tell(
    connection: socket.socket, message_type: int, body: bytes, flags: int = 0
) -> None:
    """Send a request for a change and wait until it is done; OSError as for `ask`.

    ``flags`` is NEW or 0.
    """
    _send(connection, message_type, _ACK | flags, body)
    data = connection.recv(_RECEIVE_LEN)
    _, kind = _header(data)
    if kind != _ERROR:
        raise _malformed()
    if code := _code(data[_HEADER.size :]):
        raise OSError(code, os.strerror(code))


def unpacked(form: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """Return the fields before a body's attributes; OSError (EBADMSG) if they lack."""
    if len(body) < form.size:
        raise _malformed()
    return form.unpack_from(body)


def attribute(kind: int, value: int | bytes) -> bytes:
    """Return an attribute that holds a 32-bit number, or bytes."""
    data = struct.pack("=i", value) if isinstance(value, int) else value
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(_padded(length) - length)


def text(data: bytes) -> str:
    """Return what an attribute holds as a text, up to its zero byte.

    Bytes that are no UTF-8 become what os.fsencode() makes bytes again.
    """
    return os.fsdecode(data.split(b"\0", 1)[0])


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes by their types; OSError (EBADMSG) if they are malformed."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise _malformed()
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[_padded(length) :]
    return found


class Subscription:
    """Becomes readable when the kernel notifies one of the groups, a mask.

    It also hears of the network namespaces to which ours has given ids, if we may.
    ``wanted`` is a program of classic BPF, as struct sock_filter, that returns 0 for
    what is not to be heard. OSError if the kernel has no such protocol.
    """

    def __init__(
        self,
        groups: int,
        protocol: int = socket.NETLINK_ROUTE,
        wanted: Sequence[bytes] = (),
    ) -> None:
        self._socket = _socket(protocol)
        if wanted:
            _attach_filter(self._socket, b"".join(wanted), len(wanted))
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # it takes CAP_NET_BROADCAST
            self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Discard what has arrived; call it before looking at the present state.

        OSError where the kernel reports anything but lost notifications.
        """
        self.sources()  # notifications that were lost do no harm here

    def sources(self) -> set[int] | None:
        """Discard what has arrived; return the ids of the namespaces that it is from.

        OWN is ours; None stands for all, because notifications were lost (ENOBUFS).
        OSError where the kernel reports anything else.
        """
        found: set[int] | None = set()
        while True:
            try:
                _, extra, _, _ = self._socket.recvmsg(_RECEIVE_LEN, _CONTROL_LEN)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = None
                continue
            if found is not None:
                found.add(_source(extra))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _source(extra: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in extra:
        if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID):
            return int.from_bytes(data[:4], sys.byteorder, signed=True)
    return OWN


def _socket(protocol: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)


def _attach_filter(listening: socket.socket, program: bytes, length: int) -> None:
    text = ctypes.create_string_buffer(program, len(program))
    fprog = _FPROG.pack(length, ctypes.addressof(text))
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _send(
    connection: socket.socket, message_type: int, flags: int, body: bytes
) -> None:
    length = _HEADER.size + len(body)
    header = _HEADER.pack(length, message_type, _REQUEST | flags, 0, 0)
    connection.send(header + body)


def _code(answer: bytes) -> int:
    """Return the errno of an answer that is an error; 0: there is none."""
    code = -int.from_bytes(answer[:4], sys.byteorder, signed=True)
    if not 0 <= code < _ERRNO_LIMIT:
        raise _malformed()
    return code


def _header(message: bytes) -> tuple[int, int]:
    """Return a message's length and type; OSError (EBADMSG) if it is malformed."""
    if len(message) >= _HEADER.size:
        length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(message)
        if _HEADER.size <= length <= len(message):
            return length, kind
    raise _malformed()


def _malformed() -> OSError:
    return OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _padded(length: int) -> int:
    return (length + 3) & ~3
