"""Packets that nobody receives, though a process has their port, and fragments."""

import socket

from truth.cases.containers import link_local
from truth.cases.other_hosts import used_datagram_server
from truth.cases.registry import CaseContext, case
from truth.cases.translated import listens
from truth.elsewhere import SYN, checksum, datagram, host
from truth.network import UPLINK_ADDRESS
from truth.packets import ELSEWHERE
from truth.sockets import LO4, echo_request, udp
from truth.workers import Script, Worker, alternate, kill_all

OTHER_MAC = "02:00:00:00:82:03"
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"


def _have_both(context: CaseContext, port: int) -> None:
    """Have a datagram socket, which has been used, and a listener on a port."""
    for script in (used_datagram_server(context, port), listens(port)):
        Worker(script).step()


@case
def frames_for_another_host(context: CaseContext) -> None:
    """A switch or a device in promiscuous mode lets them come; the kernel does not."""
    port, source = context.port(), context.port()
    _have_both(context, port)
    context.log.disclaim("udp", local=port)
    with host(OTHER_MAC) as other:
        other.send_datagram(source, port, b"statement")
        other.send_segment(source, port, SYN, 1)
    kill_all()


@case
def segment_in_a_frame_for_all(context: CaseContext) -> None:
    """The kernel takes no TCP from there, but it takes datagrams."""
    port, source = context.port(), context.port()
    server = Worker(used_datagram_server(context, port))
    server.step()
    Worker(listens(port)).step()
    with host(BROADCAST_MAC) as other:
        other.send_segment(source, port, SYN, 1)
        other.send_datagram(source, port, b"statement")
        server.step()
    kill_all()


@case
def datagram_from_outside_for_loopback(context: CaseContext) -> None:
    """The kernel discards it ("martian destination")."""
    port, source = context.port(), context.port()
    _have_both(context, port)
    context.log.disclaim("udp", local=port)
    with host() as other:
        other.send_datagram(source, port, b"statement", LO4)
        other.send_segment(source, port, SYN, 1, LO4)
    kill_all()


@case
def fragments_with_the_identifier_of_other_ones(context: CaseContext) -> None:
    """Each protocol counts its own packets: a ping follows a datagram."""
    port, source, identifier = context.port(), context.port(), context.port()
    server = Worker(used_datagram_server(context, port))
    server.step()
    ping = echo_request(4, identifier)[:8] + bytes(1400)
    ping = ping[:2] + bytes(2) + ping[4:]
    ping = ping[:2] + checksum(ping) + ping[4:]
    with host() as other:
        data = datagram(source, port, bytes(1400))
        other.send_fragments(socket.IPPROTO_UDP, data, identifier)
        server.step()
        other.send_fragments(socket.IPPROTO_ICMP, ping, identifier)
    kill_all()


@case
def frame_with_a_tag_that_nobody_has(context: CaseContext) -> None:
    """It is for a VLAN of which no device is; that it has the right ports is chance."""

    def connected() -> Script:
        with udp(LO4) as sock:
            sock.bind((UPLINK_ADDRESS, port))
            sock.connect((ELSEWHERE, source))
            context.claim("udp", local=port, remote=source)
            sock.send(b"question")
            yield
            assert sock.recv(100) == b"answer"
            context.log.disclaim("udp", local=port)
            yield

    port, source = context.port(), context.port()
    with host() as other:
        one = Worker(connected())
        one.step()
        other.send_datagram(source, port, b"answer")
        one.step()
        other.send_tagged(7, source, port, b"statement")
    kill_all()


@case
def datagram_that_is_sent_on(context: CaseContext) -> None:
    """Its header names another host: the kernel forwards or discards it."""
    port, source = context.port(), context.port()
    _have_both(context, port)
    context.log.disclaim("udp", local=port)
    route = b"\x01\x83\x07\x04" + socket.inet_aton(ELSEWHERE)
    with host() as other:
        other.send_datagram_by(route, source, port, b"statement")
    kill_all()


@case
def datagrams_from_ourselves_by_the_network(context: CaseContext) -> None:
    """The kernel discards what comes from outside with an address of this host."""
    port, source = context.port(), context.port()
    _have_both(context, port)
    context.log.disclaim("udp", local=port)
    with host() as other:
        for address in (LO4, UPLINK_ADDRESS, context.network.outside.near_address):
            other.send_datagram(source, port, b"statement", source_address=address)
    kill_all()


@case
def link_local_address_of_another_device(context: CaseContext) -> None:
    def talks() -> Script:
        context.claim("udp", remote=port)
        with udp("::") as sock:
            scope = socket.if_nametoindex("eth0")
            sock.sendto(b"statement", (address, port, 0, scope))
            yield

    here = context.network.here
    box, other = context.network.containers
    link_local(box.space, "eth0")
    address = link_local(here, other.device)
    mac = here.ip("-o", "link", "show", box.device).split("link/ether ")[1].split()[0]
    box.space.ip("neigh", "replace", address, "lladdr", mac, "dev", "eth0")
    port = context.port()
    server = Worker(_used6(context, port))
    server.step()
    context.log.disclaim("udp", local=port)
    with box.space.entered():
        alternate(Worker(talks()))
    box.space.ip("neigh", "del", address, "dev", "eth0")
    kill_all()


def _used6(context: CaseContext, port: int) -> Script:
    context.claim("udp", local=port)
    with udp("::") as sock:
        sock.bind(("::", port))
        sock.sendto(b"statement", ("::1", port))
        assert sock.recv(100)
        yield
        yield


@case
def fragment_before_the_first_one(context: CaseContext) -> None:
    """Its identifier was that of a datagram to another process a moment ago."""
    first, second, source = context.port(), context.port(), context.port()
    identifier = context.port()
    servers = [Worker(used_datagram_server(context, port)) for port in (first, second)]
    with host() as other:
        for port, server, order in zip((first, second), servers, (1, -1), strict=True):
            server.step()
            data = datagram(source, port, bytes(1400))
            other.send_fragments(socket.IPPROTO_UDP, data, identifier, order)
            server.step()
    kill_all()
