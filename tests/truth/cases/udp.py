"""UDP: connected or not, IPv4 and IPv6, multicast."""

import socket

from truth.cases.registry import CaseContext, case
from truth.sockets import ANY4, LO4, LO6, MAPPED, udp
from truth.workers import Script, Worker, alternate

GROUP = "239.7.7.7"


@case
def udp_unconnected(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    alternate(Worker(scripts.udp_server(port)), Worker(scripts.udp_client(port)))


@case
def udp_connected(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    client = scripts.udp_client(port, connected=True)
    alternate(Worker(scripts.udp_server(port)), Worker(client))


@case
def udp_ipv6(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    alternate(
        Worker(scripts.udp_server(port, LO6)), Worker(scripts.udp_client(port, LO6))
    )


@case
def udp_ipv4_mapped(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    client = scripts.udp_client(port, MAPPED + LO4)
    alternate(Worker(scripts.udp_server(port, "::")), Worker(client))


@case
def udp_silent_server(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    server, client = Worker(scripts.udp_silent(port, ANY4)), scripts.udp_talker(port)
    alternate(server, Worker(client))


@case
def udp_nobody_there(context: CaseContext) -> None:
    """An ICMP error comes back to the sender."""
    alternate(Worker(context.scripts.udp_talker(context.port())))


@case
def udp_multicast(context: CaseContext) -> None:
    def member() -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind((ANY4, port))
            group = socket.inet_aton(GROUP) + socket.inet_aton(LO4)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            yield
            assert sock.recv(100)
            yield

    port = context.port()
    alternate(Worker(member()), Worker(context.scripts.udp_talker(port, GROUP)))
