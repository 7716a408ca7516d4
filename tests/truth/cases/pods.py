"""Containers as a cluster has them: routed one by one, and with a proxy inside."""

import contextlib
import itertools
from collections.abc import Iterator

from support import netns
from truth.cases.registry import CaseContext, case
from truth.cases.tracked import (
    answers,
    answers_datagrams,
    asks_datagrams,
    exchange,
    inside,
)
from truth.cases.translated import binds, listens
from truth.network import OUTSIDE, Container, veth
from truth.scripts import asks
from truth.translation import rules
from truth.workers import Script

PODS, GATEWAY = "10.99.0.0/24", "169.254.1.1"
MASQUERADE = f"oifname {OUTSIDE} ip saddr {PODS} masquerade"
_numbers = itertools.count(1)


@contextlib.contextmanager
def _routed(context: CaseContext) -> Iterator[Container]:
    """Yield a container with a route of its own, and no address at the host's end."""
    here, number = context.network.here, next(_numbers)
    device, address = f"pod{number}", f"10.99.0.{number}"
    with netns.namespace() as there:
        veth(here, device, there)
        here.ip("link", "set", device, "up")
        here.ip("route", "add", address, "dev", device)
        link = here.ip("-o", "link", "show", device)
        station = link.split("link/ether ")[1].split()[0]
        there.ip("addr", "add", f"{address}/32", "dev", "eth0")
        there.ip("link", "set", "eth0", "up")
        there.ip("neigh", "add", GATEWAY, "lladdr", station, "dev", "eth0")
        there.ip("route", "add", GATEWAY, "dev", "eth0", "scope", "link")
        there.ip("route", "add", "default", "via", GATEWAY, "dev", "eth0")
        yield Container(there, device, GATEWAY, address)
        here.ip("link", "del", device)


def _serves(protocol: str, port: int) -> Script:
    return answers(port) if protocol == "tcp" else answers_datagrams(port)


def _asks(protocol: str, address: str, port: int) -> Script:
    return (asks if protocol == "tcp" else asks_datagrams)(address, port)


def _talk(
    context: CaseContext, client: Container, server: Container, protocol: str
) -> None:
    port = context.port()
    serving = inside(server, _serves(protocol, port))
    asking = inside(client, _asks(protocol, server.far_address, port))
    exchange(context, protocol, asking, serving, port)


@case
def routed_pods(context: CaseContext) -> Iterator[None]:
    """One asks the other; nothing is translated."""
    with _routed(context) as one, _routed(context) as two:
        yield
        for protocol in ("tcp", "udp"):
            _talk(context, one, two, protocol)


@case
def routed_pod_asks_outside(context: CaseContext) -> Iterator[None]:
    with _routed(context) as pod:
        yield
        name = f"pods-{context.port()}"
        with rules(context.network.here, name, postrouting=MASQUERADE):
            for protocol in ("tcp", "udp"):
                _talk(context, pod, context.network.outside, protocol)


@case
def routed_pod_is_asked_from_outside(context: CaseContext) -> Iterator[None]:
    outside = context.network.outside
    with _routed(context) as pod:
        yield
        way = (PODS, "via", outside.near_address)
        outside.space.ip("route", "add", *way)
        for protocol in ("tcp", "udp"):
            _talk(context, outside, pod, protocol)
        outside.space.ip("route", "del", *way)


def _redirected(
    context: CaseContext, protocol: str, app: Script, ports: list[int]
) -> None:
    """Ask a container's port, at which its proxy serves in place of the program."""
    pod, asking = context.network.bridged
    port, there = ports
    rule = f"iifname eth0 {protocol} dport {port} redirect to :{there}"
    with rules(pod.space, f"mesh-{port}", prerouting=rule):
        inside(pod, app).step()
        proxy = inside(pod, _serves(protocol, there))
        client = inside(asking, _asks(protocol, pod.far_address, port))
        exchange(context, protocol, client, proxy, *ports)


@case
def proxy_in_a_pod(context: CaseContext) -> None:
    """As the sidecar of a service mesh does."""
    ports = [context.port() for _ in range(2)]
    _redirected(context, "tcp", listens(ports[0]), ports)


@case
def proxy_of_datagrams_in_a_pod(context: CaseContext) -> None:
    ports = [context.port() for _ in range(2)]
    _redirected(context, "udp", binds(context, ports[0]), ports)
