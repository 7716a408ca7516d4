"""Translated connections whose rules, entries or ways change, or are unusual."""

import contextlib
import subprocess
from collections.abc import Iterator

from truth.cases.proxies import setting
from truth.cases.registry import CaseContext, case
from truth.cases.tracked import (
    answers,
    answers_datagrams,
    asks_datagrams,
    exchange,
    inside,
)
from truth.network import BRIDGE, OUTSIDE
from truth.scripts import asks
from truth.sockets import ANSWER, ANY4, LO4, answer, listener, tcp
from truth.translation import flowtable, forget_connections, published, rules
from truth.workers import Script, Worker

ROUNDS = 4


def _answers_on(port: int) -> Script:
    """Answer so many times on one connection; claim nothing."""
    with listener(port, ANY4) as listening:
        yield
        with listening.accept()[0] as connection:
            for _ in range(ROUNDS):
                answer(connection)
                yield


def _asks_on(address: str, port: int) -> Script:
    with tcp(address) as sock:
        sock.connect((address, port))
        for _ in range(ROUNDS):
            sock.sendall(b"question")
            yield
            assert sock.recv(100) == ANSWER
        yield


@case
def published_while_entries_are_forgotten(context: CaseContext) -> None:
    """As by `conntrack -F`: the rules translate what follows."""
    network, port, there = context.network, context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "tcp", port, (box.far_address, there)):
        server = inside(box, _answers_on(there))
        server.step()
        client = inside(outside, _asks_on(outside.near_address, port))
        for each in (port, there):
            context.claim("tcp", local=each, pid=server.pid)
            context.claim("tcp", remote=each, pid=client.pid)
        for _ in range(ROUNDS):
            client.step()
            server.step()
            forget_connections(network.here)
        client.step()


@case
def published_at_localhost(context: CaseContext) -> Iterator[None]:
    """What comes from outside gets to a process that listens on 127.0.0.1."""
    network, port, there = context.network, context.port(), context.port()
    rule = f"iifname {OUTSIDE} tcp dport {port} dnat to {LO4}:{there}"
    table = rules(network.here, f"inward-{port}", prerouting=rule)
    with setting(context, f"net.ipv4.conf.{OUTSIDE}.route_localnet", "1"), table:
        yield
        server = Worker(answers(there, LO4))
        client = inside(network.outside, asks(network.outside.near_address, port))
        exchange(context, "tcp", client, server, port, there)


@case
def published_and_offloaded(context: CaseContext) -> None:
    """A flowtable takes the packets from one device to the other."""
    network, port, there = context.network, context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    devices = (OUTSIDE, BRIDGE)
    with (
        contextlib.ExitStack() as stack,
        published(network.here, "udp", port, (box.far_address, there)),
    ):
        try:
            stack.enter_context(flowtable(network.here, f"{port}", devices, "udp"))
        except subprocess.CalledProcessError:
            context.lacks("nf_flow_table")
            return
        server = inside(box, answers_datagrams(there, ROUNDS))
        client = asks_datagrams(outside.near_address, port, ROUNDS)
        exchange(context, "udp", inside(outside, client), server, port, there)
