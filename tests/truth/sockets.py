"""Helpers for the sockets of the cases."""

import contextlib
import fcntl
import select
import socket
import struct
import termios
import time
from ipaddress import IPv4Address

LO4, LO6 = "127.0.0.1", "::1"
ANY4 = "0.0.0.0"
MAPPED = "::ffff:"  # an IPv4 address behind it is IPv4 on the wire
TIMEOUT_S = 60
IPPROTO_MPTCP = 262  # include/uapi/linux/in.h
ANSWER = b"answer"
_FIRST_OF_MANY = IPv4Address("127.1.0.0")


def loopback(number: int) -> str:
    """Return one of many addresses of this host: another for each number."""
    return str(_FIRST_OF_MANY + number)


def family(address: str) -> socket.AddressFamily:
    """Return the address's family."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address: str) -> socket.socket:
    """Return a TCP socket for the address."""
    sock = socket.socket(family(address), socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    return sock


def mptcp() -> socket.socket:
    """Return a socket for Multipath TCP by IPv4."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    sock.settimeout(TIMEOUT_S)
    return sock


def mptcp_listener(port: int) -> socket.socket:
    """Return a listening socket for Multipath TCP."""
    sock = mptcp()
    sock.bind((LO4, port))
    sock.listen()
    return sock


def bind_again(sock: socket.socket, port: int) -> None:
    """Bind to a port which a connection that is closing may still have."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))


def settle(sock: socket.socket, unread: int) -> None:
    """Wait until so many bytes are unread, and acknowledge them.

    Call it before another process claims the connection: data sent to this same host
    may still be on its way, and the kernel may delay the acknowledgement of data that
    has arrived.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, unread)
    ready = select.poll()
    ready.register(sock, select.POLLIN)
    assert ready.poll(1000 * TIMEOUT_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def wait_until_acknowledged(sock: socket.socket) -> None:
    """Return when the peer's kernel has acknowledged all that was sent."""
    unacknowledged = b"\1"
    while any(unacknowledged):
        time.sleep(0.001)
        unacknowledged = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))


def wait_for_datagram(sock: socket.socket) -> None:
    """Return when there is a datagram to be received."""
    ready = select.poll()
    ready.register(sock, select.POLLIN)
    assert ready.poll(1000 * TIMEOUT_S)


def udp(address: str) -> socket.socket:
    """Return a UDP socket for the address."""
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT_S)
    return sock


def listener(
    port: int, address: str = LO4, *, reuseport: bool = False
) -> socket.socket:
    """Return a listening socket; on ``::`` it accepts IPv4, too."""
    sock = tcp(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuseport))
    if address == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((address, port))
    sock.listen(128)
    return sock


def answer(connection: socket.socket) -> None:
    """Receive a question, and answer it."""
    connection.settimeout(TIMEOUT_S)
    assert connection.recv(100)
    connection.sendall(ANSWER)


def echo_request(version: int, identifier: int) -> bytes:
    """Return an ICMP echo request; for IPv6 the kernel sets the checksum."""
    kind = 8 if version == 4 else 128
    body = struct.pack(">HH", identifier, 1) + b"tccap!"
    words = struct.unpack(f">{len(body) // 2}H", body)
    total = (kind << 8) + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">BBH", kind, 0, ~total & 0xFFFF) + body


def await_echo_reply(sock: socket.socket, version: int) -> None:
    """Receive until the reply: raw sockets also get requests to this host."""
    at, reply = {4: (20, 0), 6: (0, 129)}[version]
    while sock.recv(100)[at] != reply:
        pass


def reset_on_close(sock: socket.socket) -> None:
    """Make close(2) end the connection with RST."""
    linger = struct.pack("ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def try_accept(listening: socket.socket) -> socket.socket | None:
    """Return a connection if one waits to be accepted."""
    listening.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return listening.accept()[0]
    return None


def send_descriptor(channel: socket.socket, sock: socket.socket) -> None:
    """Send a socket to another process."""
    socket.send_fds(channel, [b"x"], [sock.fileno()])


def receive_descriptor(channel: socket.socket) -> socket.socket:
    """Receive a socket from another process."""
    _, fds, _, _ = socket.recv_fds(channel, 1, 1)
    return socket.socket(fileno=fds[0])
