"""Sockets that go from process to process."""

import socket

from truth.cases.registry import CaseContext, case
from truth.other_bpf import reading_a_map
from truth.sockets import (
    ANSWER,
    LO4,
    answer,
    listener,
    receive_descriptor,
    send_descriptor,
    settle,
    tcp,
    udp,
)
from truth.workers import Script, Worker, alternate, kill_all

FORKS = 50  # each takes half a second in a virtual machine


@case
def descriptor_passed(context: CaseContext) -> None:
    def connects(channel: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        send_descriptor(channel, sock)
        sock.close()
        yield

    def uses(channel: socket.socket) -> Script:
        sock = receive_descriptor(channel)
        context.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        sock.close()
        yield

    port = context.port()
    one, other = socket.socketpair()
    server = Worker(context.scripts.server(port))
    first, second = Worker(connects(one)), Worker(uses(other))
    for worker in (server, first, server, second, server, second, server, server):
        if not worker.ended:
            worker.step()
    kill_all()


@case
def inherited_beside_users_of_bpf(context: CaseContext) -> None:
    """The kernel runs no kprobe program on a CPU in the midst of bpf(2) on a map."""

    def parent() -> Script:
        with udp(LO4) as sock:
            for _ in range(FORKS):
                context.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                child = Worker(user(sock))
                child.step()
                yield
                child.join()
                context.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                yield

    def user(sock: socket.socket) -> Script:
        context.claim("udp", remote=port)
        sock.sendto(b"statement", (LO4, port))
        return
        yield

    port = context.port()
    receiver = Worker(context.scripts.udp_receiver(port, 2 * FORKS))
    with reading_a_map():
        alternate(receiver, Worker(parent()))


@case
def descriptor_inherited(context: CaseContext) -> None:
    """Parent and child use a connection in turn."""

    def parent() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            child = Worker(user(sock))
            yield
            child.step()
            yield
            child.step()
            context.claim("tcp", remote=port)
            assert sock.recv(100) == ANSWER
            sock.sendall(b"again")
            yield
            settle(sock, len(ANSWER))
            context.claim("tcp", remote=port, pid=child.pid)
            child.step()
            yield
            child.step()
            context.claim("tcp", remote=port)
            assert sock.recv(1) == ANSWER[:1]
            yield
            child.kill()

    def user(sock: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        settle(sock, len(ANSWER))
        yield
        sock.sendall(b"more")
        yield
        settle(sock, 2 * len(ANSWER))
        yield

    port = context.port()
    alternate(Worker(answers_thrice(context, port)), Worker(parent()))


def answers_thrice(context: CaseContext, port: int) -> Script:
    """Accept, then answer "question", "again" and "more": a step each."""
    context.claim("tcp", local=port)
    with listener(port) as listening:
        yield
        with listening.accept()[0] as connection:
            for size in (8, 5, 4):
                yield
                assert len(connection.recv(size)) == size
                connection.sendall(ANSWER)
            yield


def _receives(sock: socket.socket) -> Script:
    assert sock.recv(100)
    yield


@case
def connection_inherited_and_closed(context: CaseContext) -> None:
    """The child of the process that connected only receives; the parent has closed."""

    def connects() -> Script:
        context.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        child = Worker(_receives(sock))
        sock.close()
        context.claim("tcp", remote=port, pid=child.pid)
        yield
        child.step()
        yield
        child.kill()

    port = context.port()
    server, parent = Worker(context.scripts.speaker(port)), Worker(connects())
    for worker in (server, parent, server, server, parent, parent, server):
        worker.step()
    kill_all()


@case
def datagram_socket_inherited_and_closed(context: CaseContext) -> None:
    """The parent has used the socket, and has closed it."""

    def binds() -> Script:
        context.claim("udp", local=port)
        sock = udp(LO4)
        sock.bind((LO4, port))
        sock.sendto(b"statement", (LO4, port))
        assert sock.recv(100)
        child = Worker(_receives(sock))
        sock.close()
        context.claim("udp", local=port, pid=child.pid)
        yield
        child.step()
        yield
        child.kill()

    port = context.port()
    parent, client = Worker(binds()), Worker(context.scripts.udp_talker(port))
    parent.step()
    client.step()
    parent.step()
    kill_all()


@case
def connection_of_a_dead_parent(context: CaseContext) -> None:
    """The process that connected has exited; its child sends and receives."""

    def uses(sock: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        sock.close()
        yield

    def connects(sock: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        sock.connect((LO4, port))
        yield

    port = context.port()
    server = Worker(context.scripts.server(port))
    with tcp(LO4) as sock:
        first, second = Worker(connects(sock)), Worker(uses(sock))
    for worker in (
        server,
        first,
        server,
        first,
        second,
        server,
        second,
        server,
        server,
    ):
        if not worker.ended:
            worker.step()
    kill_all()


@case
def connection_shut_down_by_a_child(context: CaseContext) -> None:
    """The parent has received last; the child says that no more will come."""

    def parent() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            connection.sendall(b"question")
            yield
            child = Worker(shuts_down(connection))
            settle(connection, len(ANSWER))
            assert connection.recv(100)
            yield
            child.step()
            yield
            child.kill()

    def shuts_down(connection: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        connection.shutdown(socket.SHUT_WR)
        yield

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                answer(connection)
                yield
                assert not connection.recv(100)
                yield

    port = context.port()
    server, client = Worker(serves()), Worker(parent())
    for worker in (server, client, server, client, client, server):
        worker.step()
    kill_all()


@case
def segment_let_go_by_a_child(context: CaseContext) -> None:
    """The parent has written it, and held it back; the child's option sends it."""

    def parent() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.sendall(b"question")
            child = Worker(lets_go(connection))
            yield
            child.step()
            yield
            settle(connection, len(ANSWER))
            context.claim("tcp", remote=port)
            assert connection.recv(100)
            child.kill()
            yield

    def lets_go(connection: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        yield

    port = context.port()
    alternate(Worker(context.scripts.server(port)), Worker(parent()))


@case
def connection_passed_on_and_reset(context: CaseContext) -> None:
    """The process that has got it ends without having used it, and with data unread."""

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            send_descriptor(channel[0], connection)
        yield

    def has() -> Script:
        with receive_descriptor(channel[1]):
            context.claim("tcp", remote=port)
            yield
            yield

    port, channel = context.port(), socket.socketpair()
    server = Worker(context.scripts.speaker(port))
    first, second = Worker(connects()), Worker(has())
    for worker in (server, first, server, second, server):
        worker.step()
    second.kill()
    kill_all()
