"""Sends UDP packets as fast as one CPU can, by sendmmsg(2).

As a program: ``flood.py ADDRESS PORT PAYLOAD_LEN COUNT [GSO_SIZE]`` prints the
packets it sent and the seconds it took. The payload begins with the packet's
number, eight bytes, so that a capture can be checked for each packet.
"""

import ctypes
import socket
import sys
import time

UDP_SEGMENT = 103  # include/uapi/linux/udp.h
BATCH = 512


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("hdr", _Msghdr), ("len", ctypes.c_uint))


def flood(sock: socket.socket, payload_len: int, count: int) -> float:
    """Send ``count`` packets on a connected socket; return the seconds taken."""
    libc = ctypes.CDLL(None, use_errno=True)
    payloads = [ctypes.create_string_buffer(max(payload_len, 8)) for _ in range(BATCH)]
    numbers = [ctypes.c_uint64.from_buffer(payload) for payload in payloads]
    iovecs = (_Iovec * BATCH)()
    messages = (_Mmsghdr * BATCH)()
    for iovec, message, payload in zip(iovecs, messages, payloads, strict=True):
        iovec.base, iovec.len = ctypes.addressof(payload), payload_len
        message.hdr.iov, message.hdr.iovlen = ctypes.pointer(iovec), 1
    sent, fd = 0, sock.fileno()
    started = time.monotonic()
    while sent < count:
        now = min(BATCH, count - sent)
        for i in range(now):
            numbers[i].value = sent + i
        done = libc.sendmmsg(fd, messages, now, 0)
        if done > 0:
            sent += done
    return time.monotonic() - started


def main() -> None:
    address, port, payload_len, count = sys.argv[1], *map(int, sys.argv[2:5])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        if len(sys.argv) > 5:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(sys.argv[5]))
        sys.stdout.write(f"{count} {flood(sock, payload_len, count)}\n")


if __name__ == "__main__":
    main()
