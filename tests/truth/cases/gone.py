"""Sockets that are gone, and what their ports and tuples mean afterwards."""

import socket
import subprocess
import time
from pathlib import Path

from truth.cases.registry import CaseContext, case
from truth.cases.tcp import alternate_once
from truth.scripts import answer_one, asks
from truth.sockets import (
    ANY4,
    LO4,
    listener,
    tcp,
    try_accept,
    wait_until_acknowledged,
)
from truth.workers import Script, Worker, alternate, kill_all

TIME_WAIT, LAST_ACK = 6, 9  # include/net/tcp_states.h


@case
def dead_server(context: CaseContext) -> None:
    """The kernel answers with RST where a server was, also to the same tuple."""
    refused_after_the_server(context, LO4)


@case
def dead_server_in_a_container(context: CaseContext) -> None:
    container = context.network.containers[0]
    with container.space.entered():
        server = Worker(context.scripts.resetting_server(port := context.port(), 1))
    refused_by(context, server, port, container.far_address)


def refused_after_the_server(context: CaseContext, address: str) -> None:
    """Have a server here end, then ask again."""
    port = context.port()
    server = Worker(context.scripts.resetting_server(port, 1))
    refused_by(context, server, port, address)


def refused_by(context: CaseContext, server: Worker, port: int, address: str) -> None:
    """Ask a server, then, when it has ended, its port: from the same one, and another.

    The server ends connections with RST, so none of their packets comes later.
    """
    scripts, source, other = context.scripts, context.port(), context.port()
    server.step()
    alternate_once(Worker(scripts.reset_client(port, address, source)), server)
    server.kill()
    context.log.disclaim("tcp", local=port)
    alternate(Worker(scripts.refused_client(port, address, source)))
    alternate(Worker(scripts.refused_client(port, address, other)))


@case
def dead_container_server_from_the_container(context: CaseContext) -> None:
    """A container asks a port of the host whose server has ended."""
    scripts, port, source = context.scripts, context.port(), context.port()
    container = context.network.containers[0]
    server = Worker(scripts.resetting_server(port, 1))
    server.step()
    with container.space.entered():
        first = Worker(scripts.reset_client(port, container.near_address, source))
        again = Worker(scripts.refused_client(port, container.near_address, source))
    alternate_once(first, server)
    server.kill()
    context.log.disclaim("tcp", local=port)
    alternate(again)


@case
def time_wait_of_a_restarted_server(context: CaseContext) -> None:
    """The pair is in TIME_WAIT for one process; the port is another one's by now."""
    scripts, port, source = context.scripts, context.port(), context.port()
    before = Worker(scripts.server(port))
    alternate(before, Worker(scripts.client(port, source=source)))
    wait_for_time_wait(port, source)
    alternate(Worker(scripts.server(port)), Worker(scripts.client(port, source=source)))


def wait_for_time_wait(port: int, source: int) -> None:
    """Return when the server's end is in TIME_WAIT and the client's is gone."""
    wanted = {(port, source, TIME_WAIT)}
    while True:
        states = connections()
        about = {one for one in states if port in one[:2] and source in one[:2]}
        if about == wanted:
            return
        time.sleep(0.001)


def connections() -> set[tuple[int, int, int]]:
    """Return local port, remote port and state of the IPv4 connections here."""
    rows = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    found = set()
    for row in rows:
        local, remote, state = row.split()[1:4]
        found.add((_port(local), _port(remote), int(state, 16)))
    return found


def _port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


@case
def time_wait_in_a_container(context: CaseContext) -> None:
    """The same where the server was, and is, in a container."""
    scripts, port, source = context.scripts, context.port(), context.port()
    container = context.network.containers[0]
    address = container.far_address
    with container.space.entered():
        before = Worker(scripts.server(port, ANY4))
        after = Worker(scripts.server(port, ANY4))
    alternate(before, Worker(scripts.client(port, address, source)))
    with container.space.entered():
        wait_for_time_wait(port, source)
    alternate(after, Worker(scripts.client(port, address, source)))


@case
def time_wait_of_a_worker(context: CaseContext) -> None:
    """The pair is in TIME_WAIT for a worker; its successor accepts the next one."""

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            for _ in range(2):
                worker = Worker(context.scripts.accepts(listening, port))
                yield
                for _ in range(3):
                    worker.step()
                    yield
                wait_for_time_wait(port, source)
                context.claim("tcp", local=port, address=LO4)
                yield

    port, source = context.port(), context.port()
    master = Worker(listens())
    master.step()
    for _ in range(2):
        master.step()
        client = Worker(context.scripts.client(port, source=source))
        alternate_once(client, master)
        master.step()
    kill_all()


@case
def killed_worker_in_a_container(context: CaseContext) -> None:
    """The RST is the worker's, not the master's, who listens on."""

    def accepts(listening: socket.socket) -> Script:
        connection = listening.accept()[0]
        context.claim("tcp", local=port)
        yield
        assert connection.recv(1)
        yield

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4) as listening:
            yield
            worker = Worker(accepts(listening))
            worker.step()
            yield
            worker.step()
            yield
            worker.kill()
            yield

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((container.far_address, port))
            yield
            connection.sendall(b"question")
            wait_until_acknowledged(connection)
            yield
            try:
                assert not connection.recv(100)
            except ConnectionResetError:
                yield

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        master = Worker(listens())
    client = Worker(connects())
    for worker in (master, client, master, client, master, master, client):
        worker.step()
    kill_all()


@case
def closed_by_a_worker_that_exits(context: CaseContext) -> None:
    """Data comes for a connection whose worker is gone, while others listen on."""

    def accepts(listening: socket.socket) -> Script:
        connection = try_accept(listening)
        assert connection
        context.claim("tcp", local=port)
        connection.close()
        yield

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4) as listening:
            yield
            worker = Worker(accepts(listening))
            worker.step()
            worker.kill()
            yield

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((container.far_address, port))
            yield
            assert not connection.recv(100)
            connection.sendall(b"too late")
            try:
                connection.recv(100)
            except ConnectionResetError:
                yield

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        master = Worker(listens())
    client = Worker(connects())
    for worker in (master, client, master, client):
        worker.step()
    kill_all()


MIGRATE = Path("/proc/sys/net/ipv4/tcp_migrate_req")  # since Linux 5.14


@case
def connection_of_a_closed_listener(context: CaseContext) -> None:
    """It gets to another listener, before anybody has accepted it."""

    def closes() -> Script:
        context.claim("tcp", local=port)
        with listener(port, reuseport=True):
            yield
        yield

    def takes_over() -> Script:
        with listener(port, reuseport=True) as listening:
            yield
            context.claim("tcp", local=port)
            yield
            yield from answer_one(listening)

    def asks_unless_reset() -> Script:
        try:
            for _ in context.scripts.client(port):
                yield True
        except ConnectionResetError:
            yield False

    if not MIGRATE.exists():
        context.lacks("tcp_migrate_req")
        return
    port = context.port()
    first, client = Worker(closes()), Worker(asks_unless_reset())
    second = Worker(takes_over())
    before = MIGRATE.read_text()
    MIGRATE.write_text("1")
    try:
        for worker in (first, client, second, first, second):
            worker.step()
        if client.step():
            second.step()
            second.step()
            alternate(client)
        else:
            context.lacks("migration of connections that nobody has accepted")
    finally:
        MIGRATE.write_text(before)
    kill_all()


@case
def connection_that_another_process_ends(context: CaseContext) -> None:
    """`ss -K` resets a connection that it has not."""

    def client() -> Script:
        context.claim("tcp", remote=port)
        yield from asks(LO4, port)

    port = context.port()
    server, asking = Worker(context.scripts.server(port)), Worker(client())
    for worker in (server, asking, server, asking, server, asking):
        worker.step()
    ending = ["ss", "--no-header", "-K", "dport", "=", f":{port}"]
    done = subprocess.run(ending, capture_output=True, check=False, text=True)
    if not done.stdout:
        context.lacks(f"ss -K (CONFIG_INET_DIAG_DESTROY): {done.stderr}")
    kill_all()
