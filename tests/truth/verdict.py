"""Right, wrong or missing: the labels of a capture against the claims."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from typing import NamedTuple

from truth.claims import Claim, Claims
from truth.packets import Packet

EXAMPLES_MAX = 6


class Named(NamedTuple):
    """A process as a label names it."""

    pid: int
    comm: str


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
            f"{self.verdict}: {ends} {flags} on {packet.device}, "
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
        return total[verdict] / total.total()

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
    """Yield the verdicts on all packets of which a process has claimed an end."""
    for packet in packets:
        if (ends := packet.ends) is None:
            continue
        # The kernel answers ICMP echo requests.
        is_request = ends.protocol == "icmp" and not ends.reply
        receiver = None if is_request else claims.receiver(packet, ends)
        sender = None if ends.reply else claims.sender(packet, ends)
        claim = sender or receiver
        if claim:
            verdict = _verdict(packet, sender, receiver)
            yield Judged(claim.case, verdict, packet, sender, receiver)


def _verdict(packet: Packet, sender: Claim | None, receiver: Claim | None) -> str:
    label = packet.label
    due = [claim for claim in (sender, receiver) if claim]
    if not label:
        return "missing"
    named = [Named(int(label["pid"]), label["comm"])]
    if "peer_pid" in label:
        named.append(Named(int(label["peer_pid"]), label["peer_comm"]))
    expected = [Named(claim.pid, claim.comm) for claim in due]
    assert packet.thread is not None
    assert packet.thread[0] == named[0].pid
    if named == expected and int(label["uid"]) == due[0].uid:
        return "right"
    # A label that names one of two owners is not wrong.
    if len(named) < len(expected) and named[0] in expected:
        return "missing"
    return "wrong"


def tcp_flags(packet: Packet) -> str:
    """Return the flags of a TCP packet without IP options, as letters."""
    if packet.ends is None or packet.ends.protocol != "tcp" or packet.ends.reply:
        return ""
    at = 14 + (20 if packet.data[12:14] == b"\x08\x00" else 40) + 13
    flags = packet.data[at]
    return "".join(c for bit, c in enumerate("FSRPAU") if flags >> bit & 1)
