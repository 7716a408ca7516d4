"""Sockets older than the capture."""

import socket
from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
from truth.cases.tcp import alternate_once
from truth.sockets import ANY4, LO4, listener, tcp, udp
from truth.workers import Script, Worker, alternate


@case
def old_connection_idle(context: CaseContext) -> Iterator[None]:
    """The server does nothing; its kernel answers for it."""

    def server() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0]:
                yield
                yield

    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.sendall(b"statement")
            yield

    port = context.port()
    one, two = Worker(server()), Worker(client())
    for worker in (one, two, one):
        worker.step()
    yield
    alternate(two, one)


@case
def old_listener(context: CaseContext) -> Iterator[None]:
    port = context.port()
    server = Worker(context.scripts.server(port))
    server.step()
    yield
    alternate(Worker(context.scripts.client(port)), server)


@case
def old_listener_shared(context: CaseContext) -> Iterator[None]:
    """Of the processes that share the listener, the oldest has listened."""

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            worker = Worker(context.scripts.accepts(listening, port))
            yield
            for _ in range(3):
                worker.step()
                yield

    port = context.port()
    server = Worker(listens())
    server.step()
    yield
    alternate_once(Worker(context.scripts.client(port)), server)
    server.kill()


@case
def old_udp(context: CaseContext) -> Iterator[None]:
    def connected(port: int) -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.send(b"question")
            yield
            assert sock.recv(100)
            yield

    port, silent = context.port(), context.port()
    server, client = Worker(context.scripts.udp_server(port)), Worker(connected(port))
    mute = Worker(context.scripts.udp_silent(silent, ANY4))
    for worker in (server, client, mute):
        worker.step()
    yield
    alternate(client, server)
    alternate(Worker(context.scripts.udp_talker(silent)), mute)


@case
def old_connection_closing(context: CaseContext) -> Iterator[None]:
    """Half closed before the capture."""

    def client() -> Script:
        with tcp(LO4) as sock:
            context.claim("tcp", remote=port)
            sock.connect((LO4, port))
            sock.shutdown(socket.SHUT_WR)
            yield
            assert sock.recv(100)
            yield

    port = context.port()
    one, two = Worker(context.scripts.speaker(port)), Worker(client())
    for worker in (one, two, one):
        worker.step()
    yield
    alternate(one, two)
