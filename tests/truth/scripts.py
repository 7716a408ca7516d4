"""Scripts for workers that many cases use: clients and servers."""

import contextlib
import socket

from truth.claims import ClaimLog
from truth.sockets import (
    ANY4,
    LO4,
    MAPPED,
    answer,
    bind_again,
    listener,
    reset_on_close,
    tcp,
    udp,
)
from truth.workers import Script


def answer_one(listening: socket.socket) -> Script:
    """Accept a connection; answer a question on it; close it: a step each."""
    with listening.accept()[0] as connection:
        yield
        answer(connection)
        yield


def ask(connection: socket.socket, address: str, port: int, source: int = 0) -> Script:
    """Connect, send, receive: a step each; leave the socket open."""
    if source:
        bind_again(connection, source)
    connection.connect((address, port))
    yield
    connection.sendall(b"question")
    yield
    assert connection.recv(100)
    yield


def asks(address: str, port: int, source: int = 0) -> Script:
    """Do the same with a socket of its own, and close that; claim nothing."""
    with tcp(address) as connection:
        yield from ask(connection, address, port, source)


class Scripts:
    """Scripts of processes that claim the ends that they use."""

    def __init__(self, log: ClaimLog) -> None:
        self.claim = log.claim

    def server(self, port: int, address: str = LO4, rounds: int = 1) -> Script:
        """Listen; accept, answer once, close: a step each, so many rounds."""
        self.claim("tcp", local=port)
        with listener(port, address) as listening:
            for _ in range(rounds):
                yield
                connection = listening.accept()[0]
                yield
                answer(connection)
                yield
                connection.close()

    def speaker(self, port: int) -> Script:
        """Listen; accept, send without a question, close: a step each."""
        self.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                yield
                connection.sendall(b"statement")
                yield

    def accepts(self, listening: socket.socket, port: int) -> Script:
        """Accept from another process's listener, answer, close: a step each.

        Claims the connections to the same address.
        """
        connection = listening.accept()[0]
        self.claim("tcp", local=port, address=connection.getsockname()[0])
        yield
        answer(connection)
        yield
        connection.close()

    def resetting_server(self, port: int, rounds: int) -> Script:
        """Like `server`, but end the connections with RST: no TIME_WAIT is left."""
        self.claim("tcp", local=port)
        with listener(port, ANY4) as listening:
            for _ in range(rounds):
                yield
                connection = listening.accept()[0]
                yield
                answer(connection)
                yield
                reset_on_close(connection)
                connection.close()

    def reset_client(self, port: int, address: str, source: int) -> Script:
        """Connect from a port, send, receive, wait for the end by RST: a step each."""
        self.claim("tcp", remote=port)
        with tcp(address) as connection:
            yield from ask(connection, address, port, source)
            with contextlib.suppress(ConnectionResetError):
                assert not connection.recv(100)

    def refused_client(self, port: int, address: str, source: int) -> Script:
        """Try to connect from a port."""
        self.claim("tcp", remote=port)
        with tcp(address) as sock, contextlib.suppress(ConnectionRefusedError):
            bind_again(sock, source)
            sock.connect((address, port))
        yield

    def client(self, port: int, address: str = LO4, source: int = 0) -> Script:
        """Connect, send, receive, close: a step each."""
        on_the_wire = address.removeprefix(MAPPED)
        self.claim("tcp", remote=port, address=on_the_wire)
        yield from asks(address, port, source)

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

    def udp_receiver(self, port: int, times: int) -> Script:
        """Bind, and receive so many datagrams: a step each."""
        self.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind((LO4, port))
            for _ in range(times):
                yield
                assert sock.recv(100)
            yield

    def udp_silent(self, port: int, address: str = LO4) -> Script:
        """Bind, and never receive."""
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
