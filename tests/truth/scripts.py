"""What the processes of the cases do, as scripts for actors."""

import contextlib
import select
import socket
import struct
from typing import Any

from truth.actors import Script
from truth.claims import ClaimLog

LO4, LO6 = "127.0.0.1", "::1"
TCP_TIMEOUT_S = 60
ANSWER = b"answer"


class Scripts:
    """Scripts of processes that claim what they use."""

    def __init__(self, log: ClaimLog) -> None:
        self.claim = log.claim

    def server(self, port: int, address: str = LO4, rounds: int = 1) -> Script:
        """Listen, accept, answer once, close: a step each."""
        self.claim("tcp", local=port)
        with listener(port, address) as listening:
            for _ in range(rounds):
                yield
                connection = listening.accept()[0]
                yield
                answer(connection)
                yield
                connection.close()

    def client(self, port: int, address: str = LO4, **claims: Any) -> Script:
        """Connect, send, receive, close: a step each."""
        self.claim("tcp", remote=port, **claims)
        with tcp(address) as connection:
            connection.connect((address, port))
            yield
            connection.sendall(b"question")
            yield
            assert connection.recv(100)
            yield

    def udp_server(self, port: int, address: str = LO4) -> Script:
        """Bind, answer once."""
        self.claim("udp", local=port)
        with udp(address) as sock:
            sock.bind((address, port))
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def udp_client(
        self, port: int, address: str = LO4, *, connected: bool = False
    ) -> Script:
        """Send, receive."""
        self.claim("udp", remote=port)
        with udp(address) as sock:
            if connected:
                sock.connect((address, port))
                sock.send(b"question")
            else:
                sock.sendto(b"question", (address, port))
            yield
            assert sock.recv(100)
            yield

    def udp_silent(self, port: int, address: str = LO4) -> Script:
        """Bind, and do nothing."""
        self.claim("udp", local=port)
        with udp(address) as sock:
            sock.bind((address, port))
            yield
            yield
            yield

    def udp_talker(self, port: int, address: str = LO4, times: int = 1) -> Script:
        """Send without waiting for an answer."""
        self.claim("udp", remote=port)
        with udp(address) as sock:
            for _ in range(times):
                sock.sendto(b"statement", (address, port))
                yield


def family(address: str) -> socket.AddressFamily:
    """Return the family that the address is of."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address: str) -> socket.socket:
    """Return a TCP socket for the address."""
    sock = socket.socket(family(address), socket.SOCK_STREAM)
    sock.settimeout(TCP_TIMEOUT_S)
    return sock


def settle(sock: socket.socket, unread: int) -> None:
    """Wait for so many bytes to be unread, and acknowledge them.

    So no acknowledgement is sent when another process has claimed the connection: what
    was sent to this very host may still be on its way, and what has come may wait for
    its acknowledgement.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, unread)
    ready = select.poll()
    ready.register(sock, select.POLLIN)
    assert ready.poll(1000 * TCP_TIMEOUT_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def udp(address: str) -> socket.socket:
    """Return a UDP socket for the address."""
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    sock.settimeout(TCP_TIMEOUT_S)
    return sock


def listener(
    port: int, address: str = LO4, *, reuseport: bool = False
) -> socket.socket:
    """Return a listening socket; on ``::`` it takes IPv4, too."""
    sock = tcp(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuseport))
    if address == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((address, port))
    sock.listen(128)
    return sock


def answer(connection: socket.socket) -> None:
    """Take a question, answer it."""
    connection.settimeout(TCP_TIMEOUT_S)
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


def reset_on_close(sock: socket.socket) -> None:
    """Make close(2) end the connection with RST."""
    linger = struct.pack("ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def try_accept(listening: socket.socket) -> socket.socket | None:
    """Return a connection that waits, if one does."""
    listening.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return listening.accept()[0]
    return None


def send_descriptor(channel: socket.socket, sock: socket.socket) -> None:
    """Pass a socket on."""
    socket.send_fds(channel, [b"x"], [sock.fileno()])


def receive_descriptor(channel: socket.socket) -> socket.socket:
    """Take over a socket that is passed on."""
    _, fds, _, _ = socket.recv_fds(channel, 1, 1)
    return socket.socket(fileno=fds[0])
