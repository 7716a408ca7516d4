"""Which process owns an end of a packet, as the processes themselves record it.

Every case has ports (or ICMP identifiers) of its own. A process claims an end
just before it uses it; from then on, until the next claim to the same end, its
packets belong to that process, under the name and the user id that it has then.

Claims must be exact, so two connections never share an end: packets of the first
may come after the claim to the second. Where several clients connect to one
listener, each connects to an address of its own, and claims only the connections
to that address.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from truth.packets import Ends, Packet

NOBODY = 0  # the pid of a claim that ends earlier ones


@dataclass(frozen=True)
class Claim:
    """A process owns an end of packets from a time on."""

    case: str
    protocol: str  # tcp, udp, udplite or icmp
    local: int  # port, or identifier of ICMP echo; 0: any
    remote: int  # port at the other end; 0: any
    address: str  # the packet's source or destination; empty: any
    device: str  # where the packets are seen; empty: on any device
    since_ns: int  # wall clock
    pid: int
    comm: str  # one character a byte
    uid: int


class ClaimLog:
    """The claims of all processes, in a file that each of them appends to."""

    def __init__(self, path: Path) -> None:
        self.case = ""
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def claim(  # noqa: PLR0913  # an end, and who owns it since when
        self,
        protocol: str,
        *,
        local: int = 0,
        remote: int = 0,
        address: str = "",
        device: str = "",
        since_ns: int | None = None,
        comm: str = "",
        pid: int = 0,
    ) -> None:
        """Claim an end for the caller, from now on, or from an earlier time."""
        made = Claim(
            case=self.case,
            protocol=protocol,
            local=local,
            remote=remote,
            address=address,
            device=device,
            since_ns=time.time_ns() if since_ns is None else since_ns,
            pid=pid or os.getpid(),
            comm=comm or own_comm(),
            uid=os.geteuid(),
        )
        self._write(made)

    def disclaim(self, protocol: str, *, local: int) -> None:
        """Record that a port is nobody's from now on: the kernel answers there."""
        nobody = (self.case, protocol, local, 0, "", "")
        self._write(Claim(*nobody, time.time_ns(), NOBODY, "", 0))

    def _write(self, made: Claim) -> None:
        os.write(self._fd, json.dumps(asdict(made)).encode() + b"\n")


def own_comm() -> str:
    """Return the name of this process, which may hold any byte."""
    return Path("/proc/self/comm").read_bytes()[:-1].decode("latin-1")


def read(path: Path) -> Iterator[Claim]:
    """Yield all claims, in the order in which they were made."""
    for line in path.read_text().splitlines():
        yield Claim(**json.loads(line))


class Claims:
    """Finds the owner of an end."""

    def __init__(self, claims: Iterator[Claim]) -> None:
        self._of: dict[tuple[str, int, int, str], list[Claim]] = {}
        for claim in claims:
            key = (claim.protocol, claim.local, claim.remote, claim.address)
            self._of.setdefault(key, []).append(claim)

    def sender(self, packet: Packet, ends: Ends) -> Claim | None:
        """Return the claim to the sender's end; None: nobody's."""
        return self._owner(packet, ends, ends.sender, ends.receiver)

    def receiver(self, packet: Packet, ends: Ends) -> Claim | None:
        """Return the claim to the receiver's end; None: nobody's."""
        return self._owner(packet, ends, ends.receiver, ends.sender)

    def _owner(
        self, packet: Packet, ends: Ends, local: int, remote: int
    ) -> Claim | None:
        claim = self._latest(packet, ends, local, remote)
        return claim if claim and claim.pid != NOBODY else None

    def _latest(
        self, packet: Packet, ends: Ends, local: int, remote: int
    ) -> Claim | None:
        about = [
            claim
            for ports in ((local, remote), (local, 0), (0, remote), (0, 0))
            for address in ("", *set(ends.addresses))
            for claim in self._of.get((ends.protocol, *ports, address), ())
            if claim.device in ("", packet.device)
        ]
        due = [c for c in about if c.since_ns <= packet.time_ns]
        if not due:
            # A packet cannot be earlier than the first claim: clocks differ by µs.
            return min(about, key=lambda c: c.since_ns, default=None)
        return max(due, key=lambda c: (c.since_ns, bool(c.local and c.remote)))
