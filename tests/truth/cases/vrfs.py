"""Connections in VRFs: the same addresses and ports are in use in each, and in none."""

import socket
import subprocess
from typing import NamedTuple

from support.netns import Namespace
from truth.cases.bound_there import bind_to_device
from truth.cases.registry import CaseContext, case
from truth.scripts import answer_one, asks
from truth.sockets import (
    ANY4,
    await_echo_reply,
    echo_request,
    tcp,
    udp,
)
from truth.workers import Script, Worker, alternate

NEAR, FAR = "10.91.0.1", "10.91.0.2"


class Domain(NamedTuple):
    """A VRF, or none, with one member that leads to a namespace of its own."""

    vrf: str  # empty: none
    table: str
    device: str
    there: Namespace


def _domains(context: CaseContext) -> list[Domain]:
    network = context.network
    boxes = [box.space for box in (*network.containers, network.outside)]
    names = [("red", "91"), ("blue", "92"), ("", "")]
    return [
        Domain(vrf, table, f"{vrf or 'plain'}0", space)
        for (vrf, table), space in zip(names, boxes, strict=True)
    ]


def _prepare(here: Namespace, domain: Domain) -> None:
    if domain.vrf:
        here.ip("link", "add", domain.vrf, "type", "vrf", "table", domain.table)
        here.ip("link", "set", domain.vrf, "up")
    far = f"{domain.device}far"
    pair = ("type", "veth", "peer", "name", far, "netns", domain.there.name)
    here.ip("link", "add", domain.device, *pair)
    if domain.vrf:
        here.ip("link", "set", domain.device, "master", domain.vrf)
    here.ip("addr", "add", f"{NEAR}/24", "dev", domain.device)
    here.ip("link", "set", domain.device, "up")
    domain.there.ip("addr", "add", f"{FAR}/24", "dev", far)
    domain.there.ip("link", "set", far, "up")


class Conversations:
    """Scripts of processes at both ends, with the same ports in each domain."""

    def __init__(self, context: CaseContext) -> None:
        self._claim = context.log.claim
        self._port, self._source, self._away = (context.port() for _ in range(3))

    def serves(self, domain: Domain) -> Script:
        """Listen for what comes in the domain; accept and answer."""
        self._claim("tcp", local=self._port, device=domain.device)
        with tcp(ANY4) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(listening, domain.vrf)
            listening.bind((ANY4, self._port))
            listening.listen()
            yield
            yield from answer_one(listening)

    def asks(self, domain: Domain) -> Script:
        """Connect from the other end, and ask."""
        self._claim("tcp", remote=self._port, device=domain.device)
        yield from asks(NEAR, self._port, self._source)

    def echoes(self, domain: Domain) -> Script:
        """Return a datagram at the other end."""
        self._claim("udp", local=self._away, device=domain.device)
        with udp(ANY4) as sock:
            sock.bind((FAR, self._away))
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def talks(self, domain: Domain) -> Script:
        """Send a datagram by a connected socket, and receive the answer."""
        self._claim("udp", remote=self._away, device=domain.device)
        with udp(ANY4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(sock, domain.vrf)
            sock.bind((NEAR, self._source))
            sock.connect((FAR, self._away))
            sock.send(b"question")
            yield
            assert sock.recv(100)
            yield

    def pings(self, domain: Domain) -> Script:
        """Send an echo request with the same identifier; wait for the reply."""
        self._claim("icmp", local=self._port, device=domain.device)
        with socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP) as sock:
            sock.settimeout(60)
            bind_to_device(sock, domain.vrf)
            sock.sendto(echo_request(4, self._port), (FAR, 0))
            yield
            await_echo_reply(sock, 4)


@case
def same_tuple_in_two_vrfs(context: CaseContext) -> None:
    """In both, and in no VRF: a server, a connected datagram socket, and a ping."""
    domains, scripts = _domains(context), Conversations(context)
    try:
        for domain in domains:
            _prepare(context.network.here, domain)
    except subprocess.CalledProcessError as error:
        context.lacks(f"VRF devices: {error.stderr}")
        return
    clients, echoing = [], []
    for domain in domains:
        with domain.there.entered():
            clients.append(Worker(scripts.asks(domain)))
            echoing.append(Worker(scripts.echoes(domain)))
    alternate(*(Worker(scripts.serves(domain)) for domain in domains), *clients)
    alternate(*echoing, *(Worker(scripts.talks(domain)) for domain in domains))
    alternate(*(Worker(scripts.pings(domain)) for domain in domains))
