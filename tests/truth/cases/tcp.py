"""TCP: one process at each end, and several that share a listener."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from truth import uring
from truth.cases.registry import CaseContext, case
from truth.sockets import (
    ANY4,
    LO4,
    LO6,
    MAPPED,
    answer,
    listener,
    loopback,
    reset_on_close,
    tcp,
    try_accept,
    wait_until_acknowledged,
)
from truth.workers import Script, Worker, alternate, kill_all


@case
def tcp_client_and_server(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    alternate(Worker(scripts.server(port)), Worker(scripts.client(port)))


@case
def tcp_refused(context: CaseContext) -> None:
    def script() -> Script:
        with tcp(LO4) as sock, contextlib.suppress(ConnectionRefusedError):
            context.claim("tcp", remote=port)
            sock.connect((LO4, port))
        yield

    port = context.port()
    alternate(Worker(script()))


@case
def tcp_ipv6(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    alternate(Worker(scripts.server(port, LO6)), Worker(scripts.client(port, LO6)))


@case
def tcp_ipv4_mapped(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    client = scripts.client(port, MAPPED + LO4)
    alternate(Worker(scripts.server(port)), Worker(client))


@case
def tcp_dual_stack(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    server = Worker(scripts.server(port, "::", rounds=2))
    server.step()
    for address in (LO4, LO6):
        client = Worker(scripts.client(port, address))
        alternate_once(client, server)


def alternate_once(client: Worker, server: Worker) -> None:
    """Alternate until the client has ended; the server goes on."""
    while not client.ended:
        client.step()
        if not client.ended:
            server.step()


@case
def tcp_exit_without_close(context: CaseContext) -> None:
    def client() -> Script:
        context.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        yield
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        os._exit(0)

    scripts, port = context.scripts, context.port()
    server, one = Worker(scripts.server(port)), Worker(client())
    alternate(server, one)


@case
def tcp_killed(context: CaseContext) -> None:
    """The server is killed with data unread, which makes an RST."""
    scripts, port = context.scripts, context.port()
    server, client = Worker(scripts.server(port)), Worker(scripts.client(port))
    for worker in (server, client, server, client):
        worker.step()
    server.kill()
    client.kill()


@case
def tcp_reset(context: CaseContext) -> None:
    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            reset_on_close(sock)
        yield

    scripts, port = context.scripts, context.port()
    server, one = Worker(scripts.server(port)), Worker(client())
    server.step()
    server.start()
    alternate(one)
    server.wait()
    server.kill()


@case
def tcp_server_never_sends(context: CaseContext) -> None:
    def server() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                yield
                while connection.recv(100):
                    pass

    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.sendall(b"statement")
        yield

    port = context.port()
    alternate(Worker(server()), Worker(client()))


@case
def tcp_data_before_accept(context: CaseContext) -> None:
    """One process listens, another accepts: the data came to the listener."""

    def listens() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            worker = Worker(context.scripts.accepts(listening, port))
            yield
            worker.step()
            yield
            worker.step()
            yield
            worker.step()
            yield

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((LO4, port))
            yield
            connection.sendall(b"question")
            wait_until_acknowledged(connection)
            yield
            assert connection.recv(100)
            yield

    port = context.port()
    server, client = Worker(listens()), Worker(connects())
    for worker in (server, client, client, *(server,) * 3, client, server, client):
        if not worker.ended:
            worker.step()
    kill_all()


@case
def tcp_sendfile(context: CaseContext) -> None:
    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock, Path(__file__).open("rb") as file:
            sock.connect((LO4, port))
            yield
            os.sendfile(sock.fileno(), file.fileno(), 0, 90)
            yield
            assert sock.recv(100)
            yield

    port = context.port()
    alternate(Worker(context.scripts.server(port)), Worker(client()))


@case
def tcp_splice(context: CaseContext) -> None:
    """Both directions through pipes, in another process than connected."""

    def moves(sock: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        out, into = os.pipe()
        os.write(into, b"question")
        os.splice(out, sock.fileno(), 8)
        yield
        # Blocking: with a timeout Python would call poll(2) first.
        assert os.splice(sock.fileno(), into, 100)
        yield

    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            sock.setblocking(True)
            yield
            worker = Worker(moves(sock))
            worker.step()
            yield
            worker.step()
            worker.step()
            context.claim("tcp", remote=port)
            yield

    port = context.port()
    alternate(Worker(context.scripts.server(port)), Worker(client()))


@case
def tcp_io_uring(context: CaseContext) -> None:
    """The kernel's worker threads connect and send."""

    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock, uring.Ring() as ring:
            sock.setblocking(True)
            ring.connect(sock.fileno(), LO4, port)
            yield
            ring.send(sock.fileno(), b"question")
            yield
            assert sock.recv(100)
            yield

    if not uring.is_available():
        context.lacks("io_uring")
        return
    port = context.port()
    alternate(Worker(context.scripts.server(port)), Worker(client()))


@case
def tcp_threads(context: CaseContext) -> None:
    def client() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            in_thread(lambda: sock.connect((LO4, port)))
            yield
            in_thread(lambda: sock.sendall(b"question"))
            yield
            in_thread(lambda: sock.recv(100))
            yield

    port = context.port()
    alternate(Worker(context.scripts.server(port)), Worker(client()))


def in_thread(action: Callable[[], object]) -> None:
    """Do it in a new thread."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


@case
def tcp_prefork(context: CaseContext) -> None:
    """One process listens, its children take turns to accept."""

    def listens() -> Script:
        context.claim("tcp", local=port)
        listening = listener(port, ANY4)
        yield
        for _ in range(2):
            worker = Worker(context.scripts.accepts(listening, port))
            yield
            for _ in range(3):
                worker.step()
                yield
        listening.close()

    port = context.port()
    server = Worker(listens())
    server.step()
    for number in range(2):
        client = Worker(context.scripts.client(port, loopback(number)))
        server.step()
        alternate_once(client, server)
    kill_all()


@case
def tcp_listener_taken_over(context: CaseContext) -> None:
    """The process that listened has exited; its child accepts."""

    def listens(listening: socket.socket) -> Script:
        listening.listen(8)
        yield
        yield

    def accepts(listening: socket.socket) -> Script:
        assert try_accept(listening) is None
        context.claim("tcp", local=port)
        yield
        connection = try_accept(listening)
        assert connection
        yield
        answer(connection)
        yield
        connection.close()

    port = context.port()
    with tcp(LO4) as listening:
        listening.bind((LO4, port))
        first, worker = Worker(listens(listening)), Worker(accepts(listening))
        first.step()
    first.kill()
    worker.step()
    client = Worker(context.scripts.client(port))
    alternate(client, worker)


@case
def tcp_reuseport(context: CaseContext) -> None:
    def server() -> Script:
        with listener(port, ANY4, reuseport=True) as listening:
            yield
            while True:
                connection = try_accept(listening)
                if connection:
                    address = connection.getsockname()[0]
                    context.claim("tcp", local=port, address=address, since_ns=0)
                    answer(connection)
                    connection.close()
                yield

    port = context.port()
    servers = [Worker(server()) for _ in range(2)]
    for one in servers:
        one.step()
    for number in range(6):
        client = Worker(context.scripts.client(port, loopback(number)))
        client.step()
        client.step()
        for one in servers:
            one.step()
        client.step()
        client.step()
    kill_all()
