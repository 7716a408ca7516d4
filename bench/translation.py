"""The cost of address translation (NAT): time in the kernel for forwarded packets."""

import contextlib
import multiprocessing
import os
import socket
import statistics
from collections.abc import Iterator

from bench import attribution, tables
from support import netns, running
from support.netns import Namespace
from truth.network import veth
from truth.translation import rules

LABELS = {"without processes": "off", "with processes": "short"}
WAYS = {
    "neither tracked nor translated": {},
    "tracked": {"postrouting": "oifname out0 tcp dport 1 masquerade"},
    "masqueraded": {"postrouting": "oifname out0 masquerade"},
}
HEAD = ("forwarded packets", *(f"ns/packet {name}" for name in LABELS), "ratio")
BOX, OUTSIDE = "10.79.0.2", "10.80.0.2"


def main(*, short: bool) -> None:
    """Print the table."""
    rounds, count = (3, 1000) if short else (7, 3000)
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):  # interleaved: each in every round
        for way in WAYS:
            for label in LABELS:
                spent.setdefault((way, label), []).append(_run(way, label, count))
    title = f"What translation costs: TCP from a container, median of {rounds}"
    tables.show(title, HEAD, [_row(way, spent) for way in WAYS])


def _row(way: str, spent: dict[tuple[str, str], list[float]]) -> tuple[str, ...]:
    off, on = (statistics.median(spent[way, label]) for label in LABELS)
    return way, f"{off:,.0f}", f"{on:,.0f}", f"{on / off:.2f}"


def _run(way: str, label: str, count: int) -> float:
    """Return the nanoseconds that the classifiers take for a packet on a device."""
    with (
        _router() as (here, box, outside),
        attribution.kernel_statistics(),
        rules(here, "bench", **WAYS[way]),
        _capture(here, LABELS[label]) as pid,
    ):
        before = attribution.totals(pid)
        _talk(box, outside, count)
        spent = attribution.totals(pid) - before
    return spent.classifier_ns / max(spent.packets, 1)


@contextlib.contextmanager
def _router() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """Yield a host, a container behind it, and another host."""
    with netns.namespace() as here, netns.namespace() as box, netns.namespace() as out:
        for device, there, address in (("box0", box, BOX), ("out0", out, OUTSIDE)):
            near = address.replace(".2", ".1")
            veth(here, device, there)
            here.ip("addr", "add", f"{near}/24", "dev", device)
            here.ip("link", "set", device, "up")
            there.ip("addr", "add", f"{address}/24", "dev", "eth0")
            there.ip("link", "set", "eth0", "up")
            there.ip("route", "add", "default", "via", near)
        here.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield here, box, out


@contextlib.contextmanager
def _capture(here: Namespace, label: str) -> Iterator[int]:
    """Capture all devices to /dev/null; yield the engine's pid."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with running.engine(here, "any", stdout=null, label=label) as engine:
            yield engine.process.pid
    finally:
        os.close(null)


def _talk(box: Namespace, outside: Namespace, count: int) -> None:
    with outside.entered():
        server = socket.create_server((OUTSIDE, 0))
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=attribution.echo, args=(server,))
    process.start()
    try:
        with server, box.entered():
            sock = socket.create_connection(server.getsockname())
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attribution.ping_pong(sock, count)
    finally:
        process.kill()
        process.join()
