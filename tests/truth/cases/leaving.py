"""What comes out of a container, where addresses alone would name another process."""

import socket
from collections.abc import Iterator

from truth.cases.bound_there import bind_to_device
from truth.cases.containers import link_local
from truth.cases.registry import CaseContext, case
from truth.elsewhere import datagram, ipv4
from truth.network import BRIDGE, NOBODY, NOBODYS_MAC, Container
from truth.sockets import ANY4, LO4, udp
from truth.workers import Script, Worker, alternate, kill_all

UNRESOLVED = "10.78.1.77"
IPV4_FRAME = bytes.fromhex(NOBODYS_MAC.replace(":", "")) + bytes(6) + b"\x08\x00"


def _sends(context: CaseContext, port: int, to: tuple[str, int]) -> Script:
    """Bind; send a datagram; close: a step each."""
    context.claim("udp", local=port, remote=to[1])
    with udp(LO4) as sock:
        sock.bind((ANY4, port))
        yield
        sock.sendto(b"statement", to)
        yield
    yield


@case
def datagram_that_waits_for_a_neighbour(context: CaseContext) -> None:
    """Another process has the port when it leaves at last."""
    container = context.network.containers[0]
    port, drain, other_drain = context.port(), context.port(), context.port()
    with container.space.entered():
        first = Worker(_sends(context, port, (UNRESOLVED, drain)))
        for _ in range(3):
            first.step()
        second = Worker(_sends(context, port, (NOBODY, other_drain)))
        second.step()
        neighbour = (UNRESOLVED, "lladdr", NOBODYS_MAC, "dev", "eth0")
        container.space.ip("neigh", "replace", *neighbour)
        second.step()
        container.space.ip("neigh", "del", *neighbour)
    kill_all()


def _forges(packet: bytes, how: int) -> Script:
    """Send the packet by a raw socket, or by an AF_PACKET socket: how."""
    protocol = socket.IPPROTO_RAW if how == socket.AF_INET else 0
    with socket.socket(how, socket.SOCK_RAW, protocol) as sock:
        yield
        if how == socket.AF_INET:
            sock.sendto(packet, (NOBODY, 0))
        else:
            sock.bind(("eth0", 0))
            sock.send(IPV4_FRAME + packet)
        yield


def _forged_in(context: CaseContext, container: Container, how: int) -> None:
    """Have a socket, and a process that sends a datagram of its addresses."""
    port, drain = context.port(), context.port()
    payload = datagram(port, drain, b"forged")
    packet = ipv4(socket.IPPROTO_UDP, (container.far_address, NOBODY), payload)
    with container.space.entered():
        owner = Worker(_sends(context, port, (NOBODY, drain)))
        owner.step()
        owner.step()
        forger = Worker(_forges(packet, how))
    forger.step()
    context.claim("udp", local=port, remote=drain, pid=forger.pid)
    forger.step()
    kill_all()


@case
def datagram_of_a_raw_socket_in_a_container(context: CaseContext) -> None:
    """It has the addresses and ports of another process's socket."""
    _forged_in(context, context.network.containers[0], socket.AF_INET)


@case
def datagram_of_a_packet_socket_in_a_container(context: CaseContext) -> None:
    """The same by an AF_PACKET socket, which has no label."""
    _forged_in(context, context.network.containers[0], socket.AF_PACKET)


@case
def bound_senders_in_a_container(context: CaseContext) -> None:
    """Two sockets have the port, and one of them is bound to the device."""

    def talks(device: str, drain: int) -> Script:
        context.claim("udp", local=port, remote=drain)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if device:
                bind_to_device(sock, device)
            sock.bind((ANY4, port))
            yield
            for _ in range(2):
                sock.sendto(b"statement", (container.near_address, drain))
                yield

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        workers = [Worker(talks(each, context.port())) for each in ("", "eth0")]
    alternate(*workers)


@case
def link_local_senders_in_a_container(context: CaseContext) -> None:
    def talks() -> Script:
        context.claim("udp", local=port, remote=drain)
        with udp("::") as sock:
            sock.bind(("::", port))
            for _ in range(2):
                scope = socket.if_nametoindex("eth0")
                sock.sendto(b"statement", (near, drain, 0, scope))
                yield

    container = context.network.containers[1]
    near = link_local(context.network.here, container.device)
    link_local(container.space, "eth0")
    port, drain = context.port(), context.port()
    with container.space.entered():
        alternate(Worker(talks()))


@case
def container_with_our_address(context: CaseContext) -> Iterator[None]:
    """Its socket is connected just as a server's here is; the server receives."""

    def pretends() -> Script:
        with udp(LO4) as sock:
            sock.bind((near, port))
            sock.connect((asking.far_address, source))
            context.claim("udp", local=port, remote=source)
            sock.send(b"statement")
            yield
            yield

    def serves() -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (LO4, port))
            assert sock.recv(100)
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def talks() -> Script:
        context.claim("udp", local=source, remote=port)
        with udp(LO4) as sock:
            sock.bind((ANY4, source))
            yield
            assert sock.recv(100) == b"statement"
            sock.sendto(b"question", (near, port))
            yield
            assert sock.recv(100)
            yield

    asking, other = context.network.bridged
    near, ours = asking.near_address, f"{asking.near_address}/32"
    mac = context.network.here.ip("-o", "link", "show", BRIDGE).split("link/ether ")[1]
    neighbour = (near, "lladdr", mac.split()[0], "dev", "eth0")
    other.space.ip("addr", "add", ours, "dev", "eth0")
    asking.space.ip("neigh", "replace", *neighbour)
    yield
    port, source = context.port(), context.port()
    with asking.space.entered():
        client = Worker(talks())
    client.step()
    with other.space.entered():
        pretender = Worker(pretends())
    pretender.step()
    server = Worker(serves())
    server.step()
    context.claim("udp", local=port, remote=source, pid=server.pid)
    alternate(client, server)
    other.space.ip("addr", "del", ours, "dev", "eth0")
    asking.space.ip("neigh", "del", *neighbour)


@case
def two_that_ask_the_same(context: CaseContext) -> None:
    """Two sockets in a container have the same port, and are connected to one peer."""

    def asks() -> Script:
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ANY4, port))
            sock.connect((outside.far_address, drain))
            yield
            for _ in range(3):
                context.claim("udp", local=port, remote=drain)
                sock.send(b"question")
                yield

    port, drain = context.port(), context.port()
    outside, box = context.network.outside, context.network.bridged[0]
    with outside.space.entered():
        sink = Worker(context.scripts.udp_silent(drain, ANY4))
    sink.step()
    with box.space.entered():
        workers = [Worker(asks()) for _ in range(2)]
    alternate(*workers)
    kill_all()
