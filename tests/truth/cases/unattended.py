"""Sockets that send while their process does not, or by the hand of another one."""

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from truth.cases.containers import link_local
from truth.cases.registry import CaseContext, case
from truth.scripts import answer_one
from truth.sockets import (
    LO4,
    answer,
    bind_again,
    listener,
    mptcp,
    mptcp_listener,
    receive_descriptor,
    send_descriptor,
    settle,
    tcp,
    udp,
    wait_until_acknowledged,
)
from truth.workers import Script, Worker, alternate, kill_all

_libc = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
SOON = 30  # hundredths of a second
LO_2, LO_3 = "127.0.0.2", "127.0.0.3"


def _fill(connection: socket.socket) -> None:
    """Send until nothing more is taken."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while connection.send(bytes(1 << 16)):
            pass


class Timer(NamedTuple):
    """What proc_pid_net(5) says of a connection's timer, and of unanswered probes."""

    kind: int
    ticks: int
    probes: int


def _timer(port: int) -> Timer:
    """Return the timer of the connection to a port."""
    with Path("/proc/thread-self/net/tcp").open() as lines:
        for fields in map(str.split, lines):
            if fields[2].endswith(f":{port:04X}"):
                kind, ticks = (int(part, 16) for part in fields[5].split(":"))
                return Timer(kind, ticks, int(fields[8]))
    raise AssertionError("no connection")


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def stopped(worker: Worker) -> Iterator[None]:
    """Have a process stopped while the block runs."""
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


@case
def window_probes_of_a_stopped_process(context: CaseContext) -> None:
    """Neither end runs: one is stopped, the other one does not receive."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                settle(connection, 1)
                yield
                _drain(connection)
                yield

    def floods() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            _fill(connection)
            yield
            yield

    port = context.port()
    server, client = Worker(serves()), Worker(floods())
    server.step()
    client.step()
    server.step()
    with stopped(client):
        _wait_until(lambda: _timer(port).probes > 0)
    server.step()
    kill_all()


def _drain(connection: socket.socket) -> None:
    connection.settimeout(1)
    with contextlib.suppress(TimeoutError):
        while connection.recv(1 << 20):
            pass


def _taken(pid: int, number: int) -> socket.socket:
    """Return another process's socket (pidfd_getfd(2))."""
    pidfd = _libc.syscall(PIDFD_OPEN, pid, 0)
    taken = _libc.syscall(PIDFD_GETFD, pidfd, number, 0)
    assert taken >= 0, os.strerror(ctypes.get_errno())
    os.close(pidfd)
    return socket.socket(fileno=taken)


@case
def orphan_beside_an_heir_of_its_port(context: CaseContext) -> None:
    """A process dies with data unsent; at once another one connects from its port."""

    def serves(number: int) -> Script:
        context.claim("tcp", local=number)
        with listener(number) as listening:
            yield
            with listening.accept()[0] as connection:
                settle(connection, 1)
                yield
                _drain(connection)
                yield

    def floods() -> Script:
        context.claim("tcp", local=source, remote=port)
        with tcp(LO4) as connection:
            bind_again(connection, source)
            connection.connect((LO4, port))
            _fill(connection)
            yield
            yield

    def follows() -> Script:
        context.claim("tcp", local=source, remote=other)
        with tcp(LO4) as connection:
            bind_again(connection, source)
            connection.connect((LO4, other))
            connection.sendall(b"question")
            yield
            yield

    port, other, source = context.port(), context.port(), context.port()
    one, two = Worker(serves(port)), Worker(serves(other))
    dying, heir = Worker(floods()), Worker(follows())
    for worker in (one, two, dying):
        worker.step()
    one.step()
    dying.kill()
    heir.step()
    two.step()
    one.step()
    kill_all()


@case
def keepalive_of_a_stopped_process(context: CaseContext) -> None:
    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            for option, value in (
                (socket.TCP_KEEPIDLE, 1),
                (socket.TCP_KEEPINTVL, 1),
            ):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.connect((LO4, port))
            yield
            yield

    port = context.port()
    server, client = Worker(context.scripts.server(port)), Worker(asks())
    server.step()
    client.step()
    server.step()
    with stopped(client):
        _wait_until(lambda: _timer(port).ticks < SOON)
        _wait_until(lambda: _timer(port).ticks > SOON)
    kill_all()


@case
def datagram_socket_that_changes_its_peer(context: CaseContext) -> None:
    """The first peer's answer comes late, and another process has the port, too."""

    def asks() -> Script:
        context.claim("udp", local=source, remote=second)
        context.claim("udp", local=source, remote=first)
        with udp(LO4) as sock:
            bind_again(sock, source)
            sock.connect((LO4, first))
            sock.send(b"question")
            yield
            sock.connect((LO4, second))
            sock.send(b"question")
            yield
            assert sock.recv(100)
            yield

    def stands_by() -> Script:
        with udp(LO4) as sock:
            bind_again(sock, source)
            yield
            context.claim("udp", local=source, remote=first)
            yield
            assert sock.recv(100)
            yield

    first, second, source = context.port(), context.port(), context.port()
    servers = [Worker(context.scripts.udp_server(each)) for each in (first, second)]
    for server in servers:
        server.step()
    heir, client = Worker(stands_by()), Worker(asks())
    heir.step()
    client.step()
    client.step()
    heir.step()
    servers[0].step()
    heir.step()
    servers[1].step()
    client.step()
    kill_all()


@case
def descriptor_taken(context: CaseContext) -> None:
    """A process takes another one's socket, and sends (pidfd_getfd(2))."""

    def owns() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.sendto(b"statement", (LO4, port))
            yield os.dup(sock.fileno())
            yield
            context.claim("udp", remote=port)
            sock.sendto(b"statement", (LO4, port))
            yield

    def takes() -> Script:
        with _taken(owner.pid, number) as sock:
            context.claim("udp", remote=port)
            sock.sendto(b"statement", (LO4, port))
            yield
        yield

    port = context.port()
    receiver = Worker(context.scripts.udp_receiver(port, 3))
    receiver.step()
    owner = Worker(owns())
    number = owner.step()
    receiver.step()
    taker = Worker(takes())
    taker.step()
    receiver.step()
    owner.step()
    owner.step()
    receiver.step()
    kill_all()


@case
def descriptor_looked_at(context: CaseContext) -> None:
    """A process takes another one's socket for a moment, as who reads /proc does."""

    def owns() -> Script:
        with udp(LO4) as sock:
            sock.bind((LO4, port))
            context.claim("udp", local=port)
            yield os.dup(sock.fileno())
            for _ in range(20):
                sock.sendto(b"statement", (LO4, port))
                yield

    def looks() -> Script:
        for _ in range(10):
            with _taken(owner.pid, number):
                yield
            yield

    port = context.port()
    owner = Worker(owns())
    number = owner.step()
    looker = Worker(looks())
    alternate(looker, owner)


@case
def listener_passed_on(context: CaseContext) -> None:
    """Who gets a listener as a message accepts from it."""

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            send_descriptor(channel[0], listening)
            yield
            yield
            yield

    def accepts() -> Script:
        with receive_descriptor(channel[1]) as listening:
            yield
            connection = listening.accept()[0]
            context.claim("tcp", local=port)
            yield
            answer(connection)
            yield

    port, channel = context.port(), socket.socketpair()
    first, second = Worker(listens()), Worker(accepts())
    client = Worker(context.scripts.client(port))
    for worker in (first, second, client, second, client, second, client):
        worker.step()
    kill_all()


@case
def aliases_of_localhost(context: CaseContext) -> None:
    """Each address of 127.0.0.0/8 can have another server on the same port."""
    port = context.port()
    for address in (LO4, LO_2, LO_3):
        context.claim("tcp", local=port, address=address)
    servers = [Worker(_serves(context, port, each)) for each in (LO4, LO_2, LO_3)]
    for server in servers:
        server.step()
    for server, address in zip(servers, (LO4, LO_2, LO_3), strict=True):
        alternate(Worker(_asks_from(context, port, address)), server)


def _serves(context: CaseContext, port: int, address: str) -> Script:
    context.claim("tcp", local=port, address=address)
    with listener(port, address) as listening:
        yield
        yield from answer_one(listening)


def _asks_from(context: CaseContext, port: int, address: str) -> Script:
    context.claim("tcp", remote=port, address=address)
    with tcp(address) as connection:
        connection.bind((address, 0))
        connection.connect((address, port))
        yield
        connection.sendall(b"question")
        yield
        assert connection.recv(100)
        yield


@case
def zero_copy(context: CaseContext) -> None:
    """The kernel sends pages of a process that has closed the socket, and ended."""

    def sends() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            connection.connect((LO4, port))
            connection.send(bytes(1 << 16), MSG_ZEROCOPY)
            yield

    def receives() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                connection.settimeout(10)
                while connection.recv(1 << 20):
                    pass
                yield

    port = context.port()
    server, client = Worker(receives()), Worker(sends())
    server.step()
    client.step()
    client.step()
    server.step()
    kill_all()


@case
def file_sent_by_a_child(context: CaseContext) -> None:
    """A child sends a file on its parent's connection."""

    def parent() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            yield
            child = Worker(sends(connection))
            child.step()
            child.join()
            yield
            context.claim("tcp", remote=port)
            assert connection.recv(100)
            connection.sendall(b"again")
            yield

    def sends(connection: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        with Path(__file__).open("rb") as file:
            os.sendfile(connection.fileno(), file.fileno(), 0, 64)
        wait_until_acknowledged(connection)
        return
        yield

    port = context.port()
    server, client = Worker(context.scripts.server(port)), Worker(parent())
    for worker in (server, client, server, client, server, client):
        worker.step()
    kill_all()


@case
def multipath_prefork(context: CaseContext) -> None:
    """The child of a process that listens accepts, by Multipath TCP."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with mptcp_listener(port) as listening:
            yield
            child = Worker(accepts(listening))
            yield
            for _ in range(3):
                child.step()
                yield

    def accepts(listening: socket.socket) -> Script:
        connection = listening.accept()[0]
        context.claim("tcp", local=port)
        yield
        answer(connection)
        yield
        connection.close()
        yield

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with mptcp() as connection:
            connection.connect((LO4, port))
            yield
            connection.sendall(b"question")
            yield
            assert connection.recv(100)
            yield

    if not context.has_multipath():
        return
    port = context.port()
    server, client = Worker(serves()), Worker(asks())
    for worker in (server, server, client, server, client, server, client, server):
        worker.step()
    kill_all()


@case
def link_local_listeners_of_two_devices(context: CaseContext) -> None:
    """Two processes have the same port, each on another device's link-local address."""

    def serves(device: str) -> Script:
        near = link_local(context.network.here, device)
        context.claim("tcp", local=port, device=device)
        with tcp("::") as listening:
            listening.bind((near, port, 0, socket.if_nametoindex(device)))
            listening.listen()
            yield
            yield from answer_one(listening)

    def asks(device: str, near: str) -> Script:
        context.claim("tcp", remote=port, device=device)
        with tcp("::") as connection:
            connection.connect((near, port, 0, socket.if_nametoindex("eth0")))
            yield
            connection.sendall(b"question")
            yield
            assert connection.recv(100)
            yield

    port = context.port()
    servers = []
    for container in context.network.containers:
        link_local(container.space, "eth0")
        servers.append(Worker(serves(container.device)))
        servers[-1].step()
    for container, server in zip(context.network.containers, servers, strict=True):
        near = link_local(context.network.here, container.device)
        with container.space.entered():
            client = Worker(asks(container.device, near))
        alternate(client, server)


@case
def corked_by_two_processes(context: CaseContext) -> None:
    """A datagram that one process begins and another one completes is the latter's."""

    def begins() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.connect((LO4, port))
            sock.send(b"one ", socket.MSG_MORE)
            child = Worker(completes(sock))
            child.step()
            child.join()
            yield

    def completes(sock: socket.socket) -> Script:
        context.claim("udp", remote=port)
        sock.send(b"other")
        return
        yield

    port = context.port()
    receiver = Worker(context.scripts.udp_receiver(port, 1))
    receiver.step()
    Worker(begins()).step()
    receiver.step()
    kill_all()
