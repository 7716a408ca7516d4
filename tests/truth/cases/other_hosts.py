"""Packets from other hosts, and from senders here that have no label."""

import select
import socket
import time
from collections.abc import Iterator

from truth.cases.bound_there import bind_to_device
from truth.cases.registry import CaseContext, case
from truth.cases.translated import listens
from truth.elsewhere import RST, SYN, datagram, host, ipv4, segment
from truth.network import UPLINK, UPLINK_ADDRESS
from truth.packets import ELSEWHERE
from truth.sockets import ANY4, LO4, TIMEOUT_S, listener, udp
from truth.translation import rules
from truth.workers import Script, Worker, alternate, kill_all


def used_datagram_server(context: CaseContext, port: int) -> Script:
    """Send once, so that the process is known; then receive."""
    context.claim("udp", local=port)
    with udp(LO4) as sock:
        sock.bind((ANY4, port))
        sock.sendto(b"statement", (LO4, port))
        assert sock.recv(100)
        yield
        assert sock.recv(100)
        yield


@case
def datagram_from_another_host(context: CaseContext) -> None:
    port, source = context.port(), context.port()
    server = Worker(used_datagram_server(context, port))
    server.step()
    with host() as other:
        other.send_datagram(source, port, b"statement")
        server.step()
    kill_all()


@case
def connection_from_another_host(context: CaseContext) -> None:
    """A listener answers, and a port without one does."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4):
            yield

    port, dead, source = context.port(), context.port(), context.port()
    server = Worker(serves())
    server.step()
    with host() as other:
        for number in (port, dead):
            other.send_segment(source, number, SYN, 1)
            assert other.receive(source)
        other.send_segment(source, port, RST, 2)
    kill_all()


@case
def dead_server_of_another_host(context: CaseContext) -> None:
    """The listener has ended: the same tuple gets an RST of the kernel's."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4):
            yield

    port, source = context.port(), context.port()
    server = Worker(serves())
    server.step()
    with host() as other:
        other.send_segment(source, port, SYN, 1)
        assert other.receive(source)
        server.kill()
        context.log.disclaim("tcp", local=port)
        other.send_segment(source, port, SYN, 1000)
        assert other.receive(source)


@case
def published_to_another_host(context: CaseContext) -> Iterator[None]:
    """A proxy here listens on the port; a container's listener answers."""
    port, there, source = context.port(), context.port(), context.port()
    box = context.network.bridged[0]
    rule = f"iifname {UPLINK} tcp dport {port} dnat to {box.far_address}:{there}"
    with rules(context.network.here, f"elsewhere-{port}", prerouting=rule):
        yield
        proxy = Worker(listens(port))
        proxy.step()
        with box.space.entered():
            server = Worker(context.scripts.server(there, ANY4))
        server.step()
        context.claim("tcp", local=port, pid=server.pid)
        with host() as other:
            other.send_segment(source, port, SYN, 1)
            assert other.receive(source)
            other.send_segment(source, port, RST, 2)


@case
def frame_of_a_packet_socket(context: CaseContext) -> None:
    """The sender is here, and its socket has no ports: it may have no label."""

    def sends() -> Script:
        context.claim("udp", remote=port)
        payload = datagram(source, port, b"statement")
        packet = ipv4(socket.IPPROTO_UDP, (LO4, LO4), payload)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("lo", 0))
            sock.send(bytes(12) + b"\x08\x00" + packet)
        yield

    port, source = context.port(), context.port()
    server = Worker(used_datagram_server(context, port))
    server.step()
    alternate(Worker(sends()))
    kill_all()  # the kernel drops it: nothing comes from lo without a route


@case
def segment_of_a_packet_socket(context: CaseContext) -> None:
    """It has the addresses and ports of another process's connection."""

    def forges() -> Script:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("lo", 0))
            yield
            sock.send(bytes(12) + b"\x08\x00" + forged_segment(source, port))
            yield

    port, source = context.port(), context.port()
    forged_by(context, Worker(forges()), source, port)


@case
def segment_of_a_raw_socket(context: CaseContext) -> None:
    def forges() -> Script:
        kind = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with socket.socket(*kind) as sock:
            yield
            sock.sendto(forged_segment(source, port), (LO4, 0))
            yield

    port, source = context.port(), context.port()
    forged_by(context, Worker(forges()), source, port)


def forged_segment(source: int, port: int) -> bytes:
    """Return an RST that the receiver ignores for its sequence number."""
    made = segment((LO4, LO4), (source, port), RST, 77)
    return ipv4(socket.IPPROTO_TCP, (LO4, LO4), made)


def forged_by(context: CaseContext, forger: Worker, source: int, port: int) -> None:
    """Have a connection, and a process that sends one of its segments."""
    forger.step()
    server = Worker(context.scripts.server(port))
    client = Worker(context.scripts.client(port, source=source))
    for worker in (server, client, server, client, server, client):
        worker.step()
    context.claim("tcp", local=source, remote=port, pid=forger.pid)
    forger.step()
    context.claim("tcp", local=source, remote=port, pid=client.pid)
    alternate(client, server)
    kill_all()


@case
def datagram_of_another_host_to_the_other_address(context: CaseContext) -> None:
    """Of two sockets on a port the one that is bound to the address receives."""

    def binds(address: str) -> Script:
        context.claim("udp", local=port, address=address)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.sendto(b"statement", (address, port))
            assert sock.recv(100)
            yield
            assert sock.recv(100)

    port, source = context.port(), context.port()
    specific, other_one = Worker(binds(UPLINK_ADDRESS)), Worker(binds(LO4))
    specific.step()
    other_one.step()
    with host() as other:
        other.send_datagram(source, port, b"statement")
        specific.step()
    kill_all()


@case
def datagram_for_one_of_two_connected_sockets(context: CaseContext) -> None:
    """Both are connected to the sender, and one is bound to the device."""

    def connects(port: int, device: str) -> Script:
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(sock, device)
            sock.bind((UPLINK_ADDRESS, port))
            sock.connect((ELSEWHERE, source))
            context.claim("udp", local=port, remote=source)
            sock.send(b"statement")
            yield
            assert sock.recv(100)
            yield

    source = context.port()
    for devices in (("", UPLINK), (UPLINK, "")):
        port = context.port()
        workers = [Worker(connects(port, device)) for device in devices]
        with host() as other:
            for worker in workers:
                worker.step()
            before_ns = time.time_ns()
            other.send_datagram(source, port, b"statement")
            for worker in workers:
                worker.start()
            [receiver] = select.select(workers, [], [], TIMEOUT_S)[0]
            context.claim(
                "udp",
                local=port,
                remote=source,
                since_ns=before_ns,
                pid=receiver.pid,
            )
        kill_all()
