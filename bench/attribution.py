"""The cost of finding the processes of packets: time in the kernel, and throughput."""

import contextlib
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import tables
from support import bpf, netns, running
from support.netns import Pair
from tccap.bpf import features
from tccap.bpf.uapi import ProgType

STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
LABELS = {"no capture": "", "without processes": "off", "with processes": "short"}
CHUNK_LEN = 1 << 16
# Round trips, and chunks in one direction.
COUNTS, COUNTS_SHORT = (3000, 1000), (1000, 300)
HEAD = (
    *("", "round trips/s", "of none", "bulk MiB/s", "of none"),
    *("classifier ns/packet", "others ns/packet"),
)


class Run(NamedTuple):
    """One run; the times in the kernel are per packet of the ping-pong."""

    round_trips: float  # a second
    bulk: float  # MiB a second
    classifier_ns: float
    others_ns: float


def main(*, short: bool) -> None:
    """Print the table."""
    rounds = 3 if short else 5
    runs: dict[str, list[Run]] = {name: [] for name in LABELS}
    for _ in range(rounds):  # interleaved: each in every round
        for name, label in LABELS.items():
            runs[name].append(_run(label, COUNTS_SHORT if short else COUNTS))
    way = "kprobes" if features.has_kprobes() else "tracepoints"
    title = f"What processes cost, found by {way}: TCP over veth, median of {rounds}"
    base = _median(runs["no capture"])
    rows = [_row(name, _median(runs[name]), base) for name in LABELS]
    tables.show(title, HEAD, rows)


def _median(runs: list[Run]) -> Run:
    return Run(*map(median, zip(*runs, strict=True)))


def _row(name: str, run: Run, base: Run) -> tuple[str, ...]:
    return (
        name,
        f"{run.round_trips:,.0f}",
        f"{run.round_trips / base.round_trips:.2f}",
        f"{run.bulk:,.0f}",
        f"{run.bulk / base.bulk:.2f}",
        f"{run.classifier_ns:,.0f}",
        f"{run.others_ns:,.0f}",
    )


def _run(label: str, counts: tuple[int, int]) -> Run:
    with netns.pair() as pair, kernel_statistics(), contextlib.ExitStack() as stack:
        pid = stack.enter_context(_capture(pair, label)) if label else 0
        before = totals(pid)
        round_trips = counts[0] / _with_peer(pair, echo, ping_pong, counts[0])
        spent = totals(pid) - before
        seconds = _with_peer(pair, _swallow, _bulk, counts[1])
    packets = max(spent.packets, 1)
    return Run(
        round_trips,
        counts[1] * CHUNK_LEN / seconds / (1 << 20),
        spent.classifier_ns / packets,
        spent.others_ns / packets,
    )


@contextlib.contextmanager
def _capture(pair: Pair, label: str) -> Iterator[int]:
    """Capture to /dev/null; yield the engine's pid."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with running.engine(pair.near, "veth0", stdout=null, label=label) as engine:
            yield engine.process.pid
    finally:
        os.close(null)


class Totals(NamedTuple):
    """The runs and times of a process's programs so far."""

    packets: int
    classifier_ns: int
    others_ns: int

    def __sub__(self, before: "Totals") -> "Totals":
        return Totals(*(now - then for now, then in zip(self, before, strict=True)))


def totals(pid: int) -> Totals:
    """Return those of the process; 0: none."""
    programs = bpf.statistics_of(pid) if pid else set()
    classifiers = [p for p in programs if p.kind == ProgType.SCHED_CLS]
    others = [p for p in programs if p.kind != ProgType.SCHED_CLS]
    return Totals(
        packets=sum(p.runs for p in classifiers),
        classifier_ns=sum(p.run_ns for p in classifiers),
        others_ns=sum(p.run_ns for p in others),
    )


@contextlib.contextmanager
def kernel_statistics() -> Iterator[None]:
    """Make the kernel measure its BPF programs."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


Peer = Callable[[socket.socket], None]


def _with_peer(
    pair: Pair, peer: Peer, talk: Callable[[socket.socket, int], None], count: int
) -> float:
    """Exchange data with another process over veth0; return the seconds it took."""
    with pair.far.entered():
        server = socket.create_server((pair.far_address, 0))
    process = multiprocessing.get_context("fork").Process(target=peer, args=(server,))
    process.start()
    try:
        with server, pair.near.entered():
            sock = socket.create_connection(server.getsockname())
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            talk(sock, count)
            return time.perf_counter() - started
    finally:
        process.kill()
        process.join()


def echo(server: socket.socket) -> None:
    """Accept a connection, and send back what comes."""
    connection, _ = server.accept()
    while data := connection.recv(100):
        connection.sendall(data)


def ping_pong(sock: socket.socket, count: int) -> None:
    """Send a byte and receive one, so many times."""
    for _ in range(count):
        sock.sendall(b"x")
        sock.recv(1)


def _swallow(server: socket.socket) -> None:
    connection, _ = server.accept()
    while connection.recv(1 << 20):
        pass
    connection.close()


def _bulk(sock: socket.socket, count: int) -> None:
    chunk = bytes(CHUNK_LEN)
    for _ in range(count):
        sock.sendall(chunk)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)  # the peer has all of it
