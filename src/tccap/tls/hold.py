"""Holding packets of TLS connections until their secrets are in the stream.

Theory of operation. Wireshark decrypts a packet only if the secrets come before it in
the stream, but a program has its secrets some milliseconds after the packets that need
them first. So the kernel reports each ClientHello, and from the ServerHello on sends
the connection's packets here. They are held until the connection's secrets are
complete; each secret is written to the stream as soon as it arrives. Then the held
packets are released in their order, and the kernel unmarks the connection, so that
later packets bypass the hold. Packets already on their way here pass at once.

A connection is identified by its client random, so that its packets from several
devices are held together. A flow is the key of a mark in the kernel; a connection may
have several (address translation). Every mark is given back by `take_unmarked`.

Nothing is held for ever. Each end has secrets before the client answers the
ServerHello, or soon after its answer has come. The client may take its time: it may be
far away. So a connection is held at most ``wait_s`` from the answer on if no secret
comes. Without an answer, or with some of the secrets, it is held at most
`SECRETS_WAIT_S`. From its FIN or RST on, it is held at most `END_WAIT_S`: if a
handshake has failed, no more secrets come, but one may still be on its way. All
connections together hold at most `HELD_MAX` bytes. Times are seconds of any monotonic
clock.
"""

import heapq
import itertools
import statistics
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from tccap.stream import abi
from tccap.stream.abi import MessageKind
from tccap.tls import keylog
from tccap.tls.keylog import Secret

SECRETS_WAIT_S = 3.0
END_WAIT_S = 0.1
HELD_MAX = 64 << 20
CONNECTIONS_MAX = 4096
FLOWS_MAX = 64  # of one connection
# Client randoms with secrets but no ClientHello (yet).
EARLY_MAX = 4096
_ANSWERS = MessageKind.HELD_ANSWER, MessageKind.HELD_KEYED

Buffer = bytes | memoryview


@dataclass
class Counts:
    """Totals since the capture began."""

    connections: int = 0  # ClientHellos seen, each client random once
    with_secrets: int = 0  # connections that got all their secrets
    secrets: int = 0  # written
    refused: int = 0  # secrets that contradicted an earlier one
    held: int = 0  # packets
    timed_out: int = 0  # connections released without all their secrets
    evicted: int = 0  # connections released early: a limit was reached
    # Of the last CONNECTIONS_MAX connections that were held.
    longest_wait_s: float = 0.0
    median_wait_s: float = 0.0


class WithoutSecrets(NamedTuple):
    """A connection that has waited for nothing."""

    number: int
    waited_s: float
    has_keys: bool  # its client, whose handshake has not failed


@dataclass
class _Connection:
    number: int
    flows: set[bytes] = field(default_factory=set)
    secrets: dict[str, bytes] = field(default_factory=dict)
    blocks: list[Buffer] = field(default_factory=list)
    held_since: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    has_keys: bool = False  # its client, as it shows
    released: bool = False  # its packets pass at once

    @property
    def complete(self) -> bool:
        return any(labels <= self.secrets.keys() for labels in keylog.COMPLETE)


class Hold:
    """The held packets, and the secrets that they wait for.

    Methods that take an event return the blocks to write now, in this order.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._counts = Counts()
        self._connections: OrderedDict[int, _Connection] = OrderedDict()
        self._randoms: dict[int, bytes] = {}
        self._of_flow: dict[bytes, _Connection] = {}
        self._held: OrderedDict[int, _Connection] = OrderedDict()
        self._held_len = 0
        self._early: OrderedDict[bytes, dict[str, Secret]] = OrderedDict()
        self._alarms: list[tuple[float, int, _Connection]] = []
        self._tie = itertools.count()
        self._unmarked: list[bytes] = []
        self._without_secrets: list[WithoutSecrets] = []
        self._waits_s: deque[float] = deque(maxlen=CONNECTIONS_MAX)

    # Events.

    def hello(
        self, flow: bytes, client_random: bytes, now: float, *, may_get_secrets: bool
    ) -> list[Buffer]:
        """Begin a connection at its ClientHello.

        Without ``may_get_secrets`` (no endpoint is traced, and there is no key log) its
        packets pass at once.
        """
        out: list[Buffer] = []
        before = self._of_flow.get(flow)
        number = abi.connection_id(client_random)
        if before and before.number != number:
            before.flows.discard(flow)  # the mark already belongs to the new one
            out += self._release(before, now)
        if self._randoms.get(number, client_random) != client_random:
            self._unmarked.append(flow)
            return out
        connection = self._connections.get(number)
        if not connection:
            out += self._evict_oldest(now)
            connection = self._begin(number, client_random)
        if len(connection.flows) == FLOWS_MAX and flow not in connection.flows:
            self._unmarked.append(flow)
            return out
        self._of_flow[flow] = connection
        connection.flows.add(flow)
        for secret in self._early.pop(client_random, {}).values():
            out += self._keep(connection, secret, now)
        if connection.released or not (may_get_secrets or connection.secrets):
            out += self._release(connection, now)
        return out

    def packet(self, packet: abi.HeldPacket, now: float) -> list[Buffer]:
        """Hold a packet of a marked connection, or let it pass."""
        connection = self._connections.get(packet.connection)
        if not connection:
            return [packet.block]
        if connection.released:
            if (
                packet.kind == MessageKind.HELD_SERVER_HELLO
            ):  # marked while it was being released
                self._unmark(connection)
            return [packet.block]
        if connection.held_since is None:
            connection.held_since = now
            self._held[connection.number] = connection
            self._set_alarm(connection)
        self._notice(connection, packet.kind, now)
        self._counts.held += 1
        connection.blocks.append(packet.block)
        self._held_len += len(packet.block)
        out: list[Buffer] = []
        while self._held_len > HELD_MAX:
            self._counts.evicted += 1
            out += self._release(next(iter(self._held.values())), now)
        return out

    def secret(self, secret: Secret, now: float) -> list[Buffer]:
        """Take a secret of any connection, known or not (yet)."""
        number = abi.connection_id(secret.client_random)
        if self._randoms.get(number) == secret.client_random:
            return self._keep(self._connections[number], secret, now)
        early = self._early.setdefault(secret.client_random, {})
        self._early.move_to_end(secret.client_random)
        early.setdefault(secret.label, secret)
        if len(self._early) > EARLY_MAX:
            self._early.popitem(last=False)
        return []

    def give_up(self, number: int, now: float) -> list[Buffer]:
        """Let a connection's packets pass: no secret will come."""
        connection = self._connections.get(number)
        if not connection or connection.released or connection.secrets:
            return []
        return self._release(connection, now)

    def expire(self, now: float) -> list[Buffer]:
        """Release the connections whose deadline has passed."""
        out: list[Buffer] = []
        while self._alarms and self._alarms[0][0] <= now:
            _, _, connection = heapq.heappop(self._alarms)
            if not connection.released and self._deadline(connection) <= now:
                self._counts.timed_out += 1
                if not connection.secrets:
                    self._without_secrets.append(_without_secrets(connection, now))
                out += self._release(connection, now)
        return out

    def finish(self, now: float) -> list[Buffer]:
        """Release everything: the capture ends."""
        out: list[Buffer] = []
        for connection in list(self._held.values()):
            self._counts.timed_out += 1
            out += self._release(connection, now)
        return out

    # Questions.

    def timeout_s(self, now: float) -> float | None:
        """Return the seconds until `expire` is due; None: nothing is held."""
        while self._alarms and self._alarms[0][2].released:
            heapq.heappop(self._alarms)
        return max(0.0, self._alarms[0][0] - now) if self._alarms else None

    def counts(self) -> Counts:
        """Return the totals so far."""
        waits_s = self._waits_s or [0.0]
        self._counts.longest_wait_s = max(waits_s)
        self._counts.median_wait_s = statistics.median(waits_s)
        return self._counts

    def take_without_secrets(self) -> list[WithoutSecrets]:
        """Return the connections that have waited for nothing, since the last call."""
        found, self._without_secrets = self._without_secrets, []
        return found

    def take_unmarked(self) -> list[bytes]:
        """Return the flows to unmark in the kernel, since the last call."""
        unmarked, self._unmarked = self._unmarked, []
        return unmarked

    # Inside.

    def _begin(self, number: int, client_random: bytes) -> _Connection:
        connection = _Connection(number)
        self._connections[number] = connection
        self._randoms[number] = client_random
        self._counts.connections += 1
        return connection

    def _evict_oldest(self, now: float) -> list[Buffer]:
        if len(self._connections) < CONNECTIONS_MAX:
            return []
        number, oldest = next(iter(self._connections.items()))
        if oldest.held_since is not None and not oldest.released:
            self._counts.evicted += 1
        out = self._release(oldest, now)
        del self._connections[number], self._randoms[number]
        return out

    def _keep(
        self, connection: _Connection, secret: Secret, now: float
    ) -> list[Buffer]:
        """Write a secret, unless its label has one already."""
        if secret.label in connection.secrets:
            known = connection.secrets[secret.label]
            self._counts.refused += known != secret.secret
            return []
        connection.secrets[secret.label] = secret.secret
        self._counts.secrets += 1
        out: list[Buffer] = [keylog.block(secret)]
        if connection.released:
            return out
        if connection.complete:
            self._counts.with_secrets += 1
            out += self._release(connection, now)
        elif connection.held_since is not None:
            self._set_alarm(connection)
        return out

    def _notice(self, connection: _Connection, kind: int, now: float) -> None:
        """Note what a packet says about how long to wait."""
        connection.has_keys |= kind == MessageKind.HELD_KEYED
        if kind in _ANSWERS and connection.answered_at is None:
            connection.answered_at = now
            self._set_alarm(connection)
        if kind == MessageKind.HELD_END and connection.ended_at is None:
            connection.ended_at = now
            self._set_alarm(connection)

    def _deadline(self, connection: _Connection) -> float:
        assert connection.held_since is not None
        deadlines = [connection.held_since + max(SECRETS_WAIT_S, self._wait_s)]
        if connection.answered_at is not None and not connection.secrets:
            deadlines.append(connection.answered_at + self._wait_s)
        if not self._wait_s and not connection.secrets:
            deadlines.append(connection.held_since)
        if connection.ended_at is not None:
            deadlines.append(connection.ended_at + END_WAIT_S)
        return min(deadlines)

    def _set_alarm(self, connection: _Connection) -> None:
        alarm = (self._deadline(connection), next(self._tie), connection)
        heapq.heappush(self._alarms, alarm)

    def _release(self, connection: _Connection, now: float) -> list[Buffer]:
        """Release the held packets; later ones pass at once."""
        connection.released = True
        self._unmark(connection)
        blocks, connection.blocks = connection.blocks, []
        if self._held.pop(connection.number, None):
            assert connection.held_since is not None
            self._held_len -= sum(map(len, blocks))
            self._waits_s.append(now - connection.held_since)
        return blocks

    def _unmark(self, connection: _Connection) -> None:
        for flow in connection.flows:
            if self._of_flow.get(flow, connection) is connection:
                self._of_flow.pop(flow, None)
                self._unmarked.append(flow)


def _without_secrets(connection: _Connection, now: float) -> WithoutSecrets:
    assert connection.held_since is not None
    waited_s = now - connection.held_since
    return WithoutSecrets(connection.number, waited_s, connection.has_keys)
