"""Right, wrong or missing: both ends of real programs' connections.

A connection belongs to any process that may accept it until the server has answered, or
until a time; from then on to the one that serves it.
"""

import struct
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from truth.packets import Packet
from truth.verdict import tcp_flags

EXAMPLES_MAX = 5
WIDTH = 20  # of a column


class Process(NamedTuple):
    """A process as a label names it."""

    pid: int
    comm: str
    uid: int

    @classmethod
    def read(cls, pid: int) -> "Process":
        """Read what /proc says now; OSError if the process is gone."""
        folder = Path(f"/proc/{pid}")
        [line] = [
            line
            for line in (folder / "status").read_text().splitlines()
            if line.startswith("Uid:")
        ]
        comm = (folder / "comm").read_bytes()[:-1].decode("latin-1")
        return cls(pid, comm, int(line.split()[2]))  # the effective one


Address = tuple[str, int]
VERDICTS = "right", "wrong", "missing", "missing once served"


@dataclass(frozen=True)
class Exchange:
    """A connection, and whose its ends are."""

    client_at: Address
    server_port: int
    client: Process
    server: Process
    accepting: AbstractSet[int]  # the processes that have the listener
    served_ns: int = 0  # when it is the server's; 0: with the first answer


@dataclass
class Report:
    """The verdicts on the ends of packets."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Return the row of a table."""
        return _row(name, *(str(self.counts[verdict]) for verdict in VERDICTS))

    def judge(self, packet: Packet, exchange: Exchange, *, is_served: bool) -> None:
        """Judge both ends of one packet."""
        others = frozenset() if is_served else exchange.accepting
        roles = ("", "peer_") if is_from_client(packet, exchange) else ("peer_", "")
        found = [
            _verdict(packet.label, roles[0], exchange.client, frozenset()),
            _verdict(packet.label, roles[1], exchange.server, others),
        ]
        self.counts.update(found)
        if is_served:
            self.counts[VERDICTS[-1]] += found.count("missing")
        if "wrong" in found and len(self.examples) < EXAMPLES_MAX:
            where = f"{packet.ends} {tcp_flags(packet)} on {packet.device}"
            self.examples.append(f"{where}: {packet.label}, not {exchange}")


def head() -> str:
    """Return the head of the table."""
    return _row("program", *VERDICTS)


def _row(name: str, *columns: str) -> str:
    return f"{name:20}" + "".join(f"{column:>{WIDTH}}" for column in columns)


def judge(packets: Iterable[Packet], exchanges: Iterable[Exchange]) -> Report:
    """Judge both ends of all packets of these connections."""
    report, answered = Report(), set[Exchange]()
    known = {(e.client_at, e.server_port): e for e in exchanges}
    for packet in packets:
        if exchange := _exchange_of(packet, known):
            if not is_from_client(packet, exchange) and has_data(packet):
                answered.add(exchange)
            if exchange.served_ns:
                is_served = packet.time_ns > exchange.served_ns
            else:
                is_served = exchange in answered
            report.judge(packet, exchange, is_served=is_served)
    return report


def _exchange_of(
    packet: Packet, known: dict[tuple[Address, int], Exchange]
) -> Exchange | None:
    ends = packet.ends
    if ends is None or ends.protocol != "tcp" or ends.reply:
        return None
    source, destination = ends.addresses
    return known.get(((source, ends.sender), ends.receiver)) or known.get(
        ((destination, ends.receiver), ends.sender)
    )


def is_from_client(packet: Packet, exchange: Exchange) -> bool:
    """Return whether the client of the exchange has sent the packet."""
    assert packet.ends
    return packet.ends.receiver == exchange.server_port


def _verdict(
    label: dict[str, str], role: str, due: Process, others: AbstractSet[int]
) -> str:
    if f"{role}pid" not in label:
        return "missing"
    if int(label[f"{role}pid"]) in others:
        return "right"
    named = {"pid": str(due.pid), "comm": due.comm}
    if not role:
        named["uid"] = str(due.uid)
    is_right = all(label[f"{role}{key}"] == value for key, value in named.items())
    return "right" if is_right else "wrong"


def has_data(packet: Packet) -> bool:
    """Return whether an IPv4 packet of TCP carries data."""
    ip = packet.data[14:]
    header_len = (ip[0] & 15) * 4
    [total_len] = struct.unpack_from(">H", ip, 2)
    return bool(total_len > header_len + (ip[header_len + 12] >> 4) * 4)
