"""Packets that nobody receives, though a process has their port, and fragments."""

import socket

from truth.cases.other_hosts import used_datagram_server
from truth.cases.registry import CaseContext, case
from truth.cases.translated import listens
from truth.elsewhere import SYN, checksum, datagram, host
from truth.sockets import LO4, echo_request
from truth.workers import Worker, kill_all

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
