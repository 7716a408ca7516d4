"""More sockets than a small table of a capture (--sockets) holds."""

import resource
import socket

from truth.cases.registry import CaseContext, case
from truth.sockets import LO4, bind_again, loopback, reset_on_close, tcp, udp
from truth.workers import Script, Worker, alternate, kill_all

SOCKETS = 1500  # a table has 1024 at least


@case
def more_sockets_than_the_table_holds(context: CaseContext) -> None:
    """All in use by one process, then by its child, then new ones by another."""
    first, second, third = (context.port() for _ in range(3))
    parent = Worker(parents(context, first, second))
    parent.step()
    parent.step()
    parent.kill()
    kill_all()
    alternate(Worker(others(context, third)))
    connections = Worker(connects(context, context.port()))
    alternate(connections)


def parents(context: CaseContext, first: int, second: int) -> Script:
    """Send by many sockets, then have a child send by them."""
    context.claim("udp", remote=first)
    with sink(context, first), sink(context, second):
        sockets = many_datagram_sockets()
        send_by_all(sockets, first)
        child = Worker(childs(context, sockets, second))
        yield
        child.step()
        child.kill()
        yield


def childs(context: CaseContext, sockets: list[socket.socket], port: int) -> Script:
    """Send by the parent's sockets."""
    context.claim("udp", remote=port)
    send_by_all(sockets, port)
    yield


def others(context: CaseContext, port: int) -> Script:
    """Send by many sockets, which may lie where the former ones were."""
    context.claim("udp", remote=port)
    with sink(context, port):
        send_by_all(many_datagram_sockets(), port)
        yield


def connects(context: CaseContext, port: int) -> Script:
    """Be client and server of many connections, while many sockets are open."""
    context.claim("tcp", local=port)
    context.claim("tcp", remote=port)
    open_ones = many_datagram_sockets()
    with tcp(LO4) as listening:
        bind_again(listening, port)
        listening.listen()
        for _ in range(SOCKETS // 10):
            with tcp(LO4) as client:
                client.connect((LO4, port))
                accepted = listening.accept()[0]
                client.sendall(b"statement")
                assert accepted.recv(100)
                reset_on_close(accepted)
                accepted.close()
                open_ones.append(udp(LO4))
        yield


def many_datagram_sockets() -> list[socket.socket]:
    """Return more sockets than the table holds, and than there are ephemeral ports."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * SOCKETS, hard), hard))
    sockets = [udp(LO4) for _ in range(SOCKETS)]
    for number, sock in enumerate(sockets):
        sock.bind((loopback(number), 0))
    return sockets


def sink(context: CaseContext, port: int) -> socket.socket:
    """Return a bound socket: no ICMP error answers."""
    context.claim("udp", local=port)
    sock = udp(LO4)
    sock.bind((LO4, port))
    sock.sendto(b"statement", (LO4, port))
    return sock


def send_by_all(sockets: list[socket.socket], port: int) -> None:
    """Send a datagram by each."""
    for sock in sockets:
        sock.sendto(b"statement", (LO4, port))
