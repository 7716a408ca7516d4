"""Connections within GRE devices without one remote address: frames are raw IP."""

import socket

from support import gre
from support.netns import Namespace
from truth.cases.registry import CaseContext, case
from truth.network import add_addresses
from truth.scripts import answer_one, asks
from truth.sockets import (
    TIMEOUT_S,
    await_echo_reply,
    echo_request,
    listener,
    udp,
)
from truth.workers import Script, Worker, alternate


@case
def gre_multipoint(context: CaseContext) -> None:
    within_gre(context, "multipoint")


@case
def gre_multicast(context: CaseContext) -> None:
    within_gre(context, "multicast")


@case
def gre_over_ipv6(context: CaseContext) -> None:
    within_gre(context, "IPv6")


def within_gre(context: CaseContext, kind: str) -> None:
    """Serve, ask, talk and ping through the tunnel; the other end claims nothing."""
    here, there = context.network.here, context.network.outside.space
    pair = ("type", "veth", "peer", "name", "tunfar", "netns", there.name)
    here.ip("link", "add", "tun0", *pair)
    add_addresses(here, "tun0", [gre.OUTER_NEAR])
    add_addresses(there, "tunfar", [gre.OUTER_FAR])
    near = gre.End(here, "tun0", _mac(there, "tunfar"))
    far = gre.End(there, "tunfar", _mac(here, "tun0"))
    with gre.tunnel(near, far, gre.KINDS[kind]) as is_there:
        if is_there:
            _converse(context)
        else:
            context.lacks(f"GRE devices ({kind})")
    here.ip("link", "del", "tun0")


def _mac(space: Namespace, device: str) -> str:
    return space.run("cat", f"/sys/class/net/{device}/address").strip()


def _converse(context: CaseContext) -> None:
    def serves_there() -> Script:
        with listener(away, gre.FAR) as listening:
            yield
            yield from answer_one(listening)

    def echoes_there() -> Script:
        with udp(gre.FAR) as sock:
            sock.bind((gre.FAR, away))
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def pings() -> Script:
        context.claim("icmp", local=port)
        with socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.sendto(echo_request(4, port), (gre.FAR, 0))
            yield
            await_echo_reply(sock, 4)

    scripts = context.scripts
    port, away = context.port(), context.port()
    with context.network.outside.space.entered():
        asking = Worker(asks(gre.NEAR, port))
        serving, echoing = Worker(serves_there()), Worker(echoes_there())
    alternate(Worker(scripts.server(port, gre.NEAR)), asking)
    alternate(serving, Worker(scripts.client(away, gre.FAR)))
    alternate(echoing, Worker(scripts.udp_client(away, gre.FAR, connected=True)))
    alternate(Worker(pings()))
