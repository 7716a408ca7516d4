"""Sockets that are bound to devices, beside others that are not.

The lookup of a classifier is by the device that it is on. The kernel's may be by
another one: in a container, and for what this host sends to itself, which lo carries.
"""

import socket

from truth.cases.chosen_sockets import wait_until_settled
from truth.cases.containers import link_local
from truth.cases.registry import CaseContext, case
from truth.network import Container
from truth.scripts import answer_one, ask
from truth.sockets import ANY4, tcp, udp
from truth.workers import Script, Worker, alternate, kill_all


def bind_to_device(sock: socket.socket, device: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def datagram_socket(port: int, device: str) -> socket.socket:
    sock = udp(ANY4)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind_to_device(sock, device)
    sock.bind((ANY4, port))
    return sock


@case
def container_bound_and_unbound_datagrams(context: CaseContext) -> None:
    """The one that is bound to the container's device gets them."""
    datagrams_to(context, context.network.containers[0], "eth0", gets_it=True)


@case
def container_bound_to_a_device_with_the_number_of_ours(context: CaseContext) -> None:
    """It does not get what comes by another device there."""
    container = context.network.containers[1]
    number = str(socket.if_nametoindex(container.device))
    there = ("link", "add", "same0", "index", number, "type", "veth", "peer", "same1")
    container.space.ip(*there)
    container.space.ip("link", "set", "same0", "up")
    datagrams_to(context, container, "same0", gets_it=False)


def datagrams_to(
    context: CaseContext, container: Container, device: str, *, gets_it: bool
) -> None:
    def has(name: str) -> Script:
        with datagram_socket(port, name) as sock:
            context.claim("udp", local=port, remote=drain)
            sock.sendto(b"statement", (container.far_address, drain))
            yield
            assert sock.recv(100)
            yield

    port, drain = context.port(), context.port()
    with container.space.entered():
        dropping = Worker(context.scripts.udp_silent(drain, ANY4))
        unbound, bound = Worker(has("")), Worker(has(device))
    for worker in (dropping, unbound, bound):
        worker.step()
    receiver = bound if gets_it else unbound
    context.claim("udp", local=port, pid=receiver.pid)
    alternate(Worker(context.scripts.udp_talker(port, container.far_address)))
    receiver.step()
    kill_all()


def serves(port: int, device: str = "", *, switched_off: bool = False) -> Script:
    """Listen with SO_REUSEPORT, which may be switched off then; answer one."""
    with tcp(ANY4) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bind_to_device(listening, device)
        listening.bind((ANY4, port))
        listening.listen()
        yield
        if switched_off:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            yield
        yield from answer_one(listening)


@case
def container_bound_and_unbound_listeners(context: CaseContext) -> None:
    """Of two listeners, the one that is bound to the container's device accepts."""

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        unbound, bound = Worker(serves(port)), Worker(serves(port, "eth0"))
    unbound.step()
    bound.step()
    context.claim("tcp", local=port, pid=bound.pid)
    alternate(Worker(context.scripts.client(port, container.far_address)), bound)
    kill_all()


@case
def container_listeners_that_no_longer_share(context: CaseContext) -> None:
    """They have switched SO_REUSEPORT off when they had the port."""
    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        unbound = Worker(serves(port, switched_off=True))
        bound = Worker(serves(port, "eth0", switched_off=True))
    for worker in (unbound, bound, unbound, bound):
        worker.step()
    wait_until_settled(context)
    context.claim("tcp", local=port, pid=bound.pid)
    alternate(Worker(context.scripts.client(port, container.far_address)), bound)
    kill_all()


def known(context: CaseContext, device: str, port: int, drain: int) -> Script:
    """Have a port for both versions of IP, and send from it; then receive."""
    container = context.network.containers[0]
    with udp("::") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind_to_device(sock, device)
        sock.bind(("::", port))
        context.claim("udp", local=port, remote=drain)
        sock.sendto(b"statement", (f"::ffff:{container.far_address}", drain))
        yield
        for _ in range(2):
            assert sock.recv(100)
        yield


@case
def datagrams_to_ourselves_by_another_device(context: CaseContext) -> None:
    """Who is bound to that device gets them, though they pass lo."""

    def talks() -> Script:
        context.claim("udp", remote=port)
        scope = socket.if_nametoindex(container.device)
        with udp(ANY4) as sock, udp("::") as sock6:
            bind_to_device(sock, container.device)
            sock.sendto(b"statement", (container.near_address, port))
            sock6.sendto(b"statement", (near, port, 0, scope))
            yield

    port, drain = context.port(), context.port()
    container = context.network.containers[0]
    near = link_local(context.network.here, container.device)
    with container.space.entered():
        dropping = Worker(context.scripts.udp_silent(drain, ANY4))
    unbound = Worker(known(context, "", port, drain))
    bound = Worker(known(context, container.device, port, drain))
    for worker in (dropping, unbound, bound):
        worker.step()
    context.claim("udp", local=port, pid=bound.pid)
    Worker(talks()).step()
    bound.step()
    kill_all()


@case
def connection_to_ourselves_by_another_device(context: CaseContext) -> None:
    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(ANY4) as sock:
            bind_to_device(sock, container.device)
            yield from ask(sock, container.near_address, port)

    port, container = context.port(), context.network.containers[0]
    unbound, bound = Worker(serves(port)), Worker(serves(port, container.device))
    unbound.step()
    bound.step()
    context.claim("tcp", local=port, pid=bound.pid)
    alternate(Worker(asks()), bound)
    kill_all()
