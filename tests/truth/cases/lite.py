"""UDP-Lite: its ports are not those of UDP, though the numbers may be the same."""

import socket

from truth.cases.registry import CaseContext, case
from truth.sockets import ANY4, LO4, TIMEOUT_S
from truth.workers import Script, Worker, alternate, kill_all

PROTOCOLS = {"udp": socket.IPPROTO_UDP, "udplite": socket.IPPROTO_UDPLITE}


def datagrams(protocol: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, PROTOCOLS[protocol])
    sock.settimeout(TIMEOUT_S)
    return sock


def is_there(context: CaseContext) -> bool:
    """Return whether the kernel has UDP-Lite; Linux 7.1 has removed it."""
    try:
        datagrams("udplite").close()
    except OSError as error:
        context.lacks(f"UDP-Lite: {error}")
        return False
    return True


def serves(context: CaseContext, protocol: str, port: int) -> Script:
    """Answer twice."""
    context.claim(protocol, local=port)
    with datagrams(protocol) as sock:
        sock.bind((ANY4, port))
        for _ in range(2):
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
        yield


def asks(
    context: CaseContext, protocol: str, port: int, address: str, source: int
) -> Script:
    """Ask twice, from the port that another protocol's client has, too."""
    context.claim(protocol, remote=port)
    with datagrams(protocol) as sock:
        sock.bind(("", source))
        for _ in range(2):
            sock.sendto(b"question", (address, port))
            yield
            assert sock.recv(100)
        yield


def ask_both(
    context: CaseContext, port: int, source: int, address: str, servers: list[Worker]
) -> None:
    clients = [Worker(asks(context, p, port, address, source)) for p in PROTOCOLS]
    alternate(*servers, *clients)
    kill_all()


@case
def udp_lite_beside_udp(context: CaseContext) -> None:
    """Two servers have the same number as their port, and so have two clients."""
    if is_there(context):
        port, source = context.port(), context.port()
        servers = [Worker(serves(context, p, port)) for p in PROTOCOLS]
        ask_both(context, port, source, LO4, servers)


@case
def udp_lite_beside_udp_in_a_container(context: CaseContext) -> None:
    if is_there(context):
        port, source = context.port(), context.port()
        container = context.network.containers[0]
        with container.space.entered():
            servers = [Worker(serves(context, p, port)) for p in PROTOCOLS]
        ask_both(context, port, source, container.far_address, servers)


@case
def udp_lite_to_nobody(context: CaseContext) -> None:
    """An ICMP error comes back, which does not concern who has that port of UDP."""
    if not is_there(context):
        return
    port, source = context.port(), context.port()

    def has_port() -> Script:
        with datagrams("udp") as sock:
            context.claim("udp", local=source, remote=drain)
            sock.bind((ANY4, source))
            sock.sendto(b"statement", (LO4, drain))
            yield
            yield

    def talks() -> Script:
        context.claim("udplite", remote=port)
        with datagrams("udplite") as sock:
            sock.bind((LO4, source))
            sock.sendto(b"statement", (LO4, port))
            yield

    drain = context.port()
    dropping, bystander = (
        Worker(context.scripts.udp_silent(drain, ANY4)),
        Worker(has_port()),
    )
    dropping.step()
    bystander.step()
    alternate(Worker(talks()))
    kill_all()
