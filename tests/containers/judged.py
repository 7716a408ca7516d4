"""Right, wrong or missing: the labels of a capture by row and device."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from containers.rows import End, Ends, Row
from truth.packets import Packet
from truth.verdict import tcp_flags

RIGHT, WRONG, MISSING = VERDICTS = "right", "wrong", "missing"
LABEL, PLACE = KINDS = "label", "container"
Key = tuple[str, str, str]  # title and protocol of the row, and device


class Table:
    """Counts of verdicts on the ends of packets."""

    def __init__(self, rows: list[Row], packets: Iterable[Packet]) -> None:
        self.counts: dict[Key, Counter[tuple[str, str]]] = defaultdict(Counter)
        self.wrong: list[str] = []
        for packet in packets:
            for row in rows:
                if ends := ends_of(row, packet):
                    self._count(row, packet, ends)

    def _count(self, row: Row, packet: Packet, ends: Ends) -> None:
        key = row.title, row.protocol, device_name(packet.device)
        for kind, verdict in judge(packet, ends):
            self.counts[key][kind, verdict] += 1
            if verdict == WRONG:
                text = f"{kind} of {described(packet)}, not {named(ends)}"
                self.wrong.append(f"{row.title}: {text}")

    def lines(self) -> Iterator[str]:
        """Yield the table."""
        heads = "".join(f"{kind:>11}: " + " ".join(VERDICTS) for kind in KINDS)
        yield f"{'':50} {'':7}{heads}"
        for (title, protocol, device), counts in self.counts.items():
            numbers = "".join(
                f"{'':11}  {counts[kind, RIGHT]:5} {counts[kind, WRONG]:5} "
                f"{counts[kind, MISSING]:7}"
                for kind in KINDS
            )
            yield f"{title:44} {protocol} {device:8}{numbers}"

    def unlabelled(self) -> list[Key]:
        """Return the lines of the table in which no label is right."""
        return [key for key, counts in self.counts.items() if not counts[LABEL, RIGHT]]


def device_name(device: str) -> str:
    """Return the name of a device; those of veth ends are made up by runtimes."""
    return "veth" if device.startswith("veth") else device


def ends_of(row: Row, packet: Packet) -> Ends | None:
    """Return sender and receiver of a packet; None if it is not one of the row's."""
    seen = packet.ends
    if not seen or seen.protocol != row.protocol:
        return None
    source, destination = seen.addresses
    for (address, port), (asks, answers) in row.ends.items():
        if seen.receiver == port and address in ("", destination):
            return asks, answers
        if seen.sender == port and address in ("", source):
            return answers, asks
    return None


def judge(packet: Packet, ends: Ends) -> Iterator[tuple[str, str]]:
    """Yield the kinds and verdicts of a packet's ends."""
    sender, receiver = ends
    ends = (sender, receiver) if sender else (receiver, None)
    for end, prefix in zip(ends, ("", "peer_"), strict=True):
        comm, pid = (packet.label.get(prefix + key, "") for key in ("comm", "pid"))
        if end or comm:
            due = f"{end.pid or pid} {end.comm}" if end else ""
            yield LABEL, _verdict(due, f"{pid} {comm}" if comm else "")
            yield from _judge_place(packet, end, prefix)


def _judge_place(
    packet: Packet, end: End | None, prefix: str
) -> Iterator[tuple[str, str]]:
    box = end.container if end else None
    due = [box.id[:12], box.name] if box else []
    keys = (f"{prefix}container", f"{prefix}container_name")
    found = [packet.label[key] for key in keys if key in packet.label]
    if due or found:
        is_partly = found and len(found) < len(due) and found == due[: len(found)]
        verdict = _verdict(" ".join(due), " ".join(found))
        yield PLACE, MISSING if is_partly else verdict


def _verdict(due: str, found: str) -> str:
    if found == due:
        return RIGHT
    return WRONG if found else MISSING


def described(packet: Packet) -> str:
    """Return a packet in a line."""
    seen = packet.ends
    assert seen
    source, destination = seen.addresses
    way = f"{source}:{seen.sender} > {destination}:{seen.receiver}"
    return f"{way} {tcp_flags(packet)} on {packet.device}, {packet.label}"


def named(ends: Ends) -> str:
    """Return two ends in a few words."""
    return " > ".join(
        f"{end.comm}{f' in {end.container.name}' if end.container else ''}"
        if end
        else "elsewhere"
        for end in ends
    )
