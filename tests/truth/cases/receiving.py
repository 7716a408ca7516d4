"""Connections on which one process has sent, and another one only receives."""

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from truth.cases.registry import CaseContext, case
from truth.sockets import ANSWER, LO4, answer, mptcp, tcp, wait_for_datagram
from truth.workers import Script, Worker, kill_all

# include/uapi/linux/tcp.h, tls.h and linux/socket.h
TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 31, 282, 1, 2
TLS_1_2, AES_GCM_128, SECRETS_LEN = 0x0303, 51, 36


class Kind(NamedTuple):
    """Makes sockets, and prepares one for what it will send (TLS_TX), or receive."""

    make: Callable[[], socket.socket]
    prepare: Callable[[socket.socket, int], None] = lambda _sock, _direction: None


def _encrypt(sock: socket.socket, direction: int) -> None:
    """Have the kernel do TLS in a direction, with keys that all have."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    secrets = struct.pack("=HH", TLS_1_2, AES_GCM_128) + bytes(SECRETS_LEN)
    sock.setsockopt(SOL_TLS, direction, secrets)


TCP, MULTIPATH = Kind(lambda: tcp(LO4)), Kind(mptcp)
ENCRYPTED = Kind(lambda: tcp(LO4), _encrypt)


def _receive(connection: socket.socket) -> bytes:
    return connection.recv(100)


def _splice(connection: socket.socket) -> bytes:
    reads, writes = os.pipe()
    moved = os.splice(connection.fileno(), writes, 100)
    return os.read(reads, moved)


def _received_by_a_child(
    context: CaseContext, kind: Kind, receives: Callable[[socket.socket], bytes]
) -> None:
    """The parent sends; then the child, which was there before, receives."""

    def parent() -> Script:
        context.claim("tcp", remote=port)
        with kind.make() as connection:
            connection.connect((LO4, port))
            kind.prepare(connection, TLS_RX)
            connection.setblocking(True)  # with a timeout Python would call poll(2)
            child = Worker(uses(connection))
            connection.sendall(b"question")
            yield
            wait_for_datagram(connection)
            child.step()
            yield
            wait_for_datagram(connection)
            yield
            child.kill()

    def uses(connection: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        assert receives(connection) == ANSWER
        yield

    def serves() -> Script:
        context.claim("tcp", local=port)
        with kind.make() as listening:
            listening.bind((LO4, port))
            listening.listen()
            yield
            with listening.accept()[0] as connection:
                kind.prepare(connection, TLS_TX)
                answer(connection)
                yield
                connection.sendall(ANSWER)
                yield

    port = context.port()
    server, client = Worker(serves()), Worker(parent())
    for worker in (server, client, server, client, server, client):
        worker.step()
    kill_all()


@case
def received_by_a_child(context: CaseContext) -> None:
    _received_by_a_child(context, TCP, _receive)


@case
def spliced_by_a_child(context: CaseContext) -> None:
    _received_by_a_child(context, TCP, _splice)


@case
def multipath_received_by_a_child(context: CaseContext) -> None:
    if context.has_multipath():
        _received_by_a_child(context, MULTIPATH, _receive)


@case
def multipath_spliced_by_a_child(context: CaseContext) -> None:
    if context.has_multipath():
        _received_by_a_child(context, MULTIPATH, _splice)


@case
def decrypted_by_a_child(context: CaseContext) -> None:
    """The kernel does TLS."""
    with tcp(LO4) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                context.lacks(f"TLS of the kernel: {error.strerror}")
                return
    _received_by_a_child(context, ENCRYPTED, _splice)
