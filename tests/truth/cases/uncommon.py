"""Uncommon ways to make, bind and use sockets."""

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from truth.cases.containers import link_local
from truth.cases.registry import CaseContext, case
from truth.elsewhere import datagram
from truth.scripts import answer_one
from truth.sockets import (
    ANY4,
    LO4,
    LO6,
    answer,
    listener,
    receive_descriptor,
    send_descriptor,
    settle,
    tcp,
    udp,
)
from truth.workers import (
    Script,
    Worker,
    alternate,
    enter_user_namespace,
    kill_all,
)

# include/uapi/linux/tcp.h and udp.h
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECEIVE_QUEUE, SEND_QUEUE, REPAIR_OFF_NO_PROBE = 1, 2, -1
UDP_SEGMENT, UDP_GRO = 103, 104
USER = 4242
FURTHER = "2001:db8::9"  # nobody has it
FAST_OPEN = "519"  # by both ends, and without a cookie


def only_one_version(sock: socket.socket, address: str, port: int) -> None:
    """Bind to all addresses of one version of IP."""
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))


@case
def tcp_ipv6_only_beside_ipv4(context: CaseContext) -> None:
    """Two processes listen on the same port."""

    def serves(address: str) -> Script:
        context.claim("tcp", local=port, address=address)
        with tcp(address) as listening:
            only_one_version(listening, address, port)
            listening.listen()
            yield
            yield from answer_one(listening)

    port = context.port()
    beside(context.scripts.client, serves, port)


@case
def udp_ipv6_only_beside_ipv4(context: CaseContext) -> None:
    def serves(address: str) -> Script:
        context.claim("udp", local=port, address=address)
        with udp(address) as sock:
            only_one_version(sock, address, port)
            sock.sendto(b"statement", (address, port))
            assert sock.recv(100)
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    port = context.port()
    beside(context.scripts.udp_client, serves, port)


def beside(
    client: Callable[[int, str], Script], serves: Callable[[str], Script], port: int
) -> None:
    """Have a server for each version, and a client of each."""
    servers = {address: Worker(serves(address)) for address in (LO4, LO6)}
    for server in servers.values():
        server.step()
    for address, server in servers.items():
        alternate(Worker(client(port, address)), server)


@case
def udp_two_on_a_port(context: CaseContext) -> None:
    """With SO_REUSEADDR, the one that has bound last receives."""

    def has() -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (LO4, port))
            assert sock.recv(100)
            yield
            assert sock.recv(100)

    port = context.port()
    first, last = Worker(has()), Worker(has())
    first.step()
    last.step()
    alternate(Worker(context.scripts.udp_talker(port)), last)
    kill_all()


@case
def udp_segmented(context: CaseContext) -> None:
    """Many datagrams leave in one, and are received so."""

    def receives() -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            sock.bind((LO4, port))
            sock.sendto(b"statement", (LO4, port))
            assert sock.recv(100)
            yield
            assert sock.recv(5000)

    def sends() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500)
            sock.sendto(bytes(4000), (LO4, port))
            yield

    port = context.port()
    alternate(Worker(receives()), Worker(sends()))


@case
def tcp_to_itself(context: CaseContext) -> None:
    """A socket is connected to its own address (simultaneous open)."""

    def script() -> Script:
        context.claim("tcp", local=port)
        with tcp(LO4) as sock:
            sock.bind((LO4, port))
            sock.connect((LO4, port))
            sock.sendall(b"question")
            assert sock.recv(100)
            yield

    port = context.port()
    alternate(Worker(script()))


@case
def tcp_repaired(context: CaseContext) -> None:
    """Both ends are made as criu makes them: without a handshake."""

    def one_end(ports: tuple[int, int], numbers: tuple[int, int]) -> Script:
        context.claim("tcp", local=ports[0], remote=ports[1])
        with tcp(LO4) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((LO4, ports[0]))
            for queue, number in zip((SEND_QUEUE, RECEIVE_QUEUE), numbers, strict=True):
                sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
                sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, number)
            sock.connect((LO4, ports[1]))
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_PROBE)
            yield
            sock.sendall(b"statement")
            yield
            assert sock.recv(100)
            yield

    here, there = context.port(), context.port()
    alternate(
        Worker(one_end((here, there), (1000, 5000))),
        Worker(one_end((there, here), (5000, 1000))),
    )


@case
def tcp_fast_open(context: CaseContext) -> None:
    """The SYN carries data."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with tcp(LO4) as listening:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
            listening.bind((LO4, port))
            listening.listen()
            yield
            yield from answer_one(listening)

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.setblocking(True)
            sock.sendto(b"question", socket.MSG_FASTOPEN, (LO4, port))
            yield
            yield
            assert sock.recv(100)
            yield

    setting, port = Path("/proc/sys/net/ipv4/tcp_fastopen"), context.port()
    before = setting.read_text()
    setting.write_text(FAST_OPEN)
    try:
        alternate(Worker(serves()), Worker(asks()))
    finally:
        setting.write_text(before)


@case
def server_with_a_socket_of_a_container(context: CaseContext) -> None:
    """The process has left the namespace in which its socket is."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with box.space.entered():
            listening = listener(port, ANY4)
        with listening:
            yield
            yield from answer_one(listening)

    box, port = context.network.containers[0], context.port()
    client = context.scripts.client(port, box.far_address)
    alternate(Worker(serves()), Worker(client))


def answers_at_last(context: CaseContext, port: int) -> Script:
    """Listen; accept; answer two questions at once: a step each."""
    context.claim("tcp", local=port)
    with listener(port) as listening:
        yield
        with listening.accept()[0] as connection:
            settle(connection, len(b"question"))
            yield
            settle(connection, 2 * len(b"question"))
            answer(connection)
            yield


@case
def descriptor_passed_twice(context: CaseContext) -> None:
    """The process in the middle does not use it."""

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            sock.sendall(b"question")
            yield
            send_descriptor(first[0], sock)
        yield

    def passes_on() -> Script:
        with receive_descriptor(first[1]) as sock:
            send_descriptor(second[0], sock)
        yield

    def uses() -> Script:
        with receive_descriptor(second[1]) as sock:
            context.claim("tcp", remote=port)
            sock.sendall(b"question")
            yield
            assert sock.recv(100)
            yield

    port = context.port()
    first, second = socket.socketpair(), socket.socketpair()
    server = Worker(answers_at_last(context, port))
    one, two, three = Worker(connects()), Worker(passes_on()), Worker(uses())
    for worker in (server, one, server, one, two, three, server, three):
        worker.step()
    kill_all()


@case
def user_in_a_user_namespace(context: CaseContext) -> None:
    """The user is the host's, whatever its number there."""

    def serves() -> Script:
        os.setresuid(USER, USER, USER)
        context.claim("tcp", local=port)
        if not enter_user_namespace():
            context.lacks("user namespaces for everybody")
        with listener(port) as listening:
            yield
            yield from answer_one(listening)

    port = context.port()
    alternate(Worker(serves()), Worker(context.scripts.client(port)))


@case
def datagram_with_another_hop_to_go(context: CaseContext) -> None:
    """Its destination is ours, until its routing header is read."""

    def bystander() -> Script:
        with udp("::") as sock:
            sock.bind(("::", port))
            sock.sendto(b"statement", ("::1", drain))
            yield
            yield

    def talks() -> Script:
        context.claim("udp", remote=port)
        kind = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ROUTING)
        with socket.socket(*kind) as sock:
            scope = socket.if_nametoindex("eth0")
            sock.sendto(routed_datagram(source, port, near), (near, 0, 0, scope))
        yield

    container = context.network.containers[0]
    near = link_local(context.network.here, container.device)
    link_local(container.space, "eth0")
    port, source, drain = context.port(), context.port(), context.port()
    context.claim("udp", remote=drain, pid=(one := Worker(bystander())).pid)
    one.step()
    with container.space.entered():
        alternate(Worker(talks()))
    kill_all()


def routed_datagram(source: int, port: int, near: str) -> bytes:
    """Return a segment routing header (RFC 8754) and a datagram behind it."""
    segments = b"".join(
        socket.inet_pton(socket.AF_INET6, each) for each in (FURTHER, near)
    )
    length, left, last = len(segments) // 8, 1, 1
    head = struct.pack(">4BBBH", socket.IPPROTO_UDP, length, 4, left, last, 0, 0)
    return head + segments + datagram(source, port, b"statement")
