"""The cost of looking for QUIC, for UDP packets of other protocols."""

import os
import socket
from typing import NamedTuple

from bench import attribution, tables
from support import flood, netns, quicpackets, running
from support.netns import DISCARD_PORT, Pair

PAYLOAD_LEN = 18
COUNT, COUNT_SHORT = 200_000, 50_000
HEAD = ("", "classifier ns/packet", "of off", "the best", "of off")


class Case(NamedTuple):
    """One row: options, and whether a QUIC connection is beginning."""

    tls: str
    label: str
    begins: bool = False


def _cases(label: str) -> dict[str, Case]:
    return {
        "tls off": Case("off", label),
        "tls own": Case("own", label),
        "tls own, a QUIC connection begins": Case("own", label, begins=True),
    }


def main(*, short: bool) -> None:
    """Print the table."""
    rounds, count = (5, COUNT_SHORT) if short else (11, COUNT)
    for label in ("short", "off"):
        cases = _cases(label)
        runs: dict[str, list[float]] = {title: [] for title in cases}
        for _ in range(rounds):  # side by side: all in every round
            for title, case in cases.items():
                runs[title].append(_run(case, count))
        base = runs["tls off"]
        rows = [_row(title, runs[title], base) for title in cases]
        title = f"UDP packets of {PAYLOAD_LEN} bytes, label {label}, {rounds} rounds"
        tables.show(title, HEAD, rows)


def _row(title: str, runs: list[float], base: list[float]) -> tuple[str, ...]:
    middle, off = (sorted(each)[len(each) // 2] for each in (runs, base))
    best, best_off = min(runs), min(base)
    ratios = f"{middle / off:.2f}", f"{best / best_off:.2f}"
    return title, f"{middle:,.0f}", ratios[0], f"{best:,.0f}", ratios[1]


def _run(case: Case, count: int) -> float:
    """Return the classifier's time for a packet, in ns."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with (
            netns.pair() as pair,
            attribution.kernel_statistics(),
            running.engine(
                pair.near, "veth0", stdout=null, tls=case.tls, label=case.label
            ) as engine,
        ):
            if case.begins:
                _begin(pair)
            before = attribution.totals(engine.process.pid)
            _flood(pair, count)
            spent = attribution.totals(engine.process.pid) - before
    finally:
        os.close(null)
    return spent.classifier_ns / spent.packets


def _begin(pair: Pair) -> None:
    """Send the first part of a ClientHello; the rest never comes."""
    part = quicpackets.crypto(0, quicpackets.client_hello(b"r" * 32)[:20])
    packet = quicpackets.initial(part, origin=b"origin78", length=1200)
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(packet, (pair.far_address, 443))


def _flood(pair: Pair, count: int) -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((pair.far_address, DISCARD_PORT))
        flood.flood(sock, PAYLOAD_LEN, count)
