"""Right, wrong or missing: the labels of a capture against the claims."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from typing import NamedTuple

from support import stream
from truth.claims import Claim, Claims
from truth.packets import Packet

EXAMPLES_MAX = 6
DIRECTIONS = {stream.INBOUND: "in", stream.OUTBOUND: "out"}
NOBODYS = "nobody's"  # the case of packets that have a label, and no owner


class Named(NamedTuple):
    """A process as a label names it."""

    pid: int | None
    comm: str
    uid: int | None  # None: of a peer
    thread_pid: int | None  # as EPB option 8 has it


Roles = tuple[Named | None, Named | None]  # what `pid` names, and what `peer_pid` does


class Judged(NamedTuple):
    """A packet, the owners of its ends, and whether its label names them."""

    case: str
    verdict: str  # right, wrong or missing
    packet: Packet
    sender: Claim | None
    receiver: Claim | None

    def __str__(self) -> str:
        packet, ends = self.packet, self.packet.ends
        due = " and ".join(
            f"{end} {claim.pid} {claim.comm!r} uid {claim.uid}"
            for end, claim in (("from", self.sender), ("to", self.receiver))
            if claim
        )
        flags = tcp_flags(packet)
        return (
            f"{self.verdict}: {ends} {flags} on {packet.device} "
            f"({DIRECTIONS[packet.direction]}), "
            f"{len(packet.data)} bytes, {due or 'nobody'}; label {packet.label}"
        )


class Report:
    """The verdicts of all cases."""

    def __init__(self, judged: Iterable[Judged]) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.examples: dict[tuple[str, str], list[Judged]] = defaultdict(list)
        for one in judged:
            self.counts[one.case][one.verdict] += 1
            kept = self.examples[one.case, one.verdict]
            if len(kept) < EXAMPLES_MAX:
                kept.append(one)

    def cases_with(self, verdict: str) -> set[str]:
        """Return the cases with at least one such verdict."""
        return {case for case, counts in self.counts.items() if counts[verdict]}

    def share(self, verdict: str, *, without: Container[str]) -> float:
        """Return the share of a verdict, 0 to 1, in all cases except some."""
        kept = (c for case, c in self.counts.items() if case not in without)
        total: Counter[str] = sum(kept, Counter())
        return total[verdict] / max(total.total(), 1)

    def reasons(self, why: dict[str, str], verdict: str = "missing") -> list[str]:
        """Return the reasons for the cases of a table that have such a verdict."""
        cases = sorted(self.cases_with(verdict) & set(why))
        return [f"{case} may have some {verdict}: {why[case]}" for case in cases]

    def lines(self) -> list[str]:
        """Return the table, and examples of wrong and missing labels."""
        total: Counter[str] = sum(self.counts.values(), Counter())
        rows = [*self.counts.items(), ("all", total)]
        table = [
            f"{case:32} {counts['right']:6} {counts['wrong']:6} {counts['missing']:7}"
            for case, counts in rows
        ]
        examples = [
            f"{case}: {one}"
            for (case, verdict), judged in self.examples.items()
            for one in judged
            if verdict != "right"
        ]
        return [f"{'case':32} {'right':>6} {'wrong':>6} missing", *table, *examples]


def judge(packets: Iterable[Packet], claims: Claims) -> Iterable[Judged]:
    """Yield the verdicts on all packets that have a label, or are due to have one."""
    for packet in packets:
        if (ends := packet.ends) is None:
            continue
        # The kernel answers ICMP echo requests.
        is_request = ends.protocol == "icmp" and not ends.reply
        receiver = None if is_request else claims.receiver(packet, ends)
        sender = None if ends.reply else claims.sender(packet, ends)
        claim = sender or receiver
        if claim or packet.label:
            case = claim.case if claim else NOBODYS
            verdict = _verdict(packet, sender, receiver)
            yield Judged(case, verdict, packet, sender, receiver)


def _verdict(packet: Packet, sender: Claim | None, receiver: Claim | None) -> str:
    """Judge both roles: a label names the sender, and the receiver as its peer.

    Only of a packet from another host, ``pid`` is the receiver.
    """
    due, named = _named(sender, receiver), _labelled(packet)
    if not packet.is_from_here():
        due = _named(receiver, None)
        if named == _named(None, receiver):
            return "missing"  # the role is right
    if any(name and name != whose for name, whose in zip(named, due, strict=True)):
        return "wrong"
    return "right" if named == due else "missing"


def _named(first: Claim | None, peer: Claim | None) -> Roles:
    return (
        Named(first.pid, first.comm, first.uid, first.pid) if first else None,
        Named(peer.pid, peer.comm, None, None) if peer else None,
    )


def _labelled(packet: Packet) -> Roles:
    label, first, peer = packet.label, None, None
    of_thread = packet.thread[0] if packet.thread else None
    if "pid" in label:
        pid, uid = int(label["pid"]), int(label["uid"])
        first = Named(pid, label["comm"], uid, of_thread)
    elif packet.thread:
        first = Named(None, "", None, of_thread)
    if "peer_pid" in label:
        peer = Named(int(label["peer_pid"]), label["peer_comm"], None, None)
    return first, peer


def tcp_flags(packet: Packet) -> str:
    """Return the flags of a TCP packet without IP options, as letters."""
    if packet.ends is None or packet.ends.protocol != "tcp" or packet.ends.reply:
        return ""
    at = 14 + (20 if packet.data[12:14] == b"\x08\x00" else 40) + 13
    flags = packet.data[at]
    return "".join(c for bit, c in enumerate("FSRPAU") if flags >> bit & 1)
