"""TLS secrets in the stream, while a capture runs.

The kernel sends ClientHellos, packets that wait, the first packets of QUIC and DTLS
connections and, where libraries are probed, secrets. The front may send lines of a key
log. All of it goes through `hold`, which returns what to write into the stream.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from tccap.bpf.maps import Map
from tccap.ipc.channel import HandlesAt, Message, Verdict
from tccap.ipc.plan import Plan
from tccap.ipc.status import TlsCounts, log, report
from tccap.stream import abi
from tccap.stream.abi import MessageKind
from tccap.tls import keylog, sites
from tccap.tls.handles import Handles
from tccap.tls.hold import Buffer, Hold
from tccap.tls.keyjoin import KeyJoin
from tccap.tls.keylog import Secret
from tccap.tls.marks import Marks
from tccap.tls.prospects import Prospects

if TYPE_CHECKING:
    from tccap.tls.flows import Flows

KEYLOG_LINE_MAX = 4096
# LOST_... of bpf/tls/site.h, in this order.
LOST_REASONS = ("lost_unreadable", "lost_ring_full", "lost_table_full")


class Tls:
    """Holds the packets of TLS connections until their secrets are written.

    ``marks`` are the kernel's marks of connections whose packets wait, ``lost`` is its
    map of the counts of lost secrets; ``ask`` sends a question about a process to the
    engine. The last two are None where only a key log gives secrets, and ``flows``
    where QUIC and DTLS cannot be read.
    """

    kinds = frozenset(
        {
            MessageKind.HELLO,
            MessageKind.SECRET,
            MessageKind.QUIC,
            *abi.HELD_KINDS,
        }
    )

    hears = frozenset({Verdict, HandlesAt})

    def __init__(
        self,
        plan: Plan,
        marks: Marks,
        flows: "Flows | None" = None,
        lost: Map | None = None,
        ask: Callable[[Message], None] | None = None,
    ) -> None:
        self._has_keylog = plan.keylog
        self._marks = marks
        self._lost = lost
        self._handles = Handles()
        self._quic_flows = flows
        self._hold = Hold(plan.tls_wait_ms / 1000)
        self._keys = KeyJoin()
        # A key log may have the secrets of any connection.
        self._prospects = Prospects(ask) if ask and not plan.keylog else None
        self._rest_of_text = b""
        self._unreadable = 0

    def answer(self, message: bytes) -> list[Buffer]:
        """Return the blocks that may be written now."""
        now = time.monotonic()
        kind = message[-1]
        if kind == MessageKind.HELLO:
            hello = abi.HelloMessage.parse(message)
            return self._unmarked(self._hello(hello, now))
        if kind == MessageKind.SECRET:
            read = abi.SecretMessage.parse(message)
            secret = self._secret(read, now)
            if not secret:
                return self._unmarked([])
            if self._prospects:
                number = abi.connection_id(secret.client_random)
                self._prospects.gave_secret(number, read.pid)
            return self._unmarked(self._hold.secret(secret, now))
        if kind == MessageKind.QUIC and self._quic_flows:
            packet = abi.QuicPacket.parse(message)
            return self._unmarked(self._quic(self._quic_flows, packet, now))
        held = abi.HeldPacket.parse(message)
        return self._unmarked(self._held(held, now))

    def read_text(self, text: bytes) -> list[Buffer]:
        """Take a piece of a key log, from the front."""
        *lines, self._rest_of_text = (self._rest_of_text + text).split(b"\n")
        self._rest_of_text = self._rest_of_text[-KEYLOG_LINE_MAX:]
        out: list[Buffer] = []
        for secret in filter(None, map(keylog.parse_line, lines)):
            out += self._hold.secret(secret, time.monotonic())
        return self._unmarked(out)

    def hear(self, message: Message) -> list[Buffer]:
        """Take what the engine has found out about a process.

        The packets of connections whose processes give no secrets may be written.
        """
        out: list[Buffer] = []
        if isinstance(message, HandlesAt):
            self._handles.record(message.pid, message.offsets)
        elif isinstance(message, Verdict):
            out += self._settled(message)
        return self._unmarked(out)

    @property
    def timeout_s(self) -> float | None:
        """Return after how long `poll` has to be called; None: never."""
        return self._hold.timeout_s(time.monotonic())

    def poll(self) -> list[Buffer]:
        """Return the packets that have waited long enough."""
        out = self._hold.expire(time.monotonic())
        for number, waited_s, has_keys in self._hold.take_without_secrets():
            if self._prospects:
                self._prospects.waited_for_nothing(number)
            if self._prospects and has_keys:
                self._prospects.report_silent(number, int(1000 * waited_s))
        return self._unmarked(out)

    def finish(self) -> list[Buffer]:
        """Return all packets that still wait."""
        return self._hold.finish(time.monotonic())

    def counts(self) -> dict[str, int]:
        """Return nothing: `close` reports what there was."""
        return {}

    def close(self) -> None:
        """Report what there was."""
        counts = self._hold.counts()
        lost = self._lost_secrets()
        report(TlsCounts(asdict(counts) | {"unreadable": self._unreadable} | lost))
        if any(lost.values()):
            log("warning", _losses(**lost))
        if counts.evicted:
            log(
                "warning",
                f"{counts.evicted} TLS connections are not decrypted: more packets "
                "waited for secrets than there is room for.",
            )

    def _lost_secrets(self) -> dict[str, int]:
        """Return how many secrets the probes have lost, by LOST_... of site.h."""
        if self._lost is None:
            return {}
        lost = self._lost
        return {
            name: int(lost[lost.Key(n)].value) for n, name in enumerate(LOST_REASONS)
        }

    def _held(self, held: abi.HeldPacket, now: float) -> list[Buffer]:
        out = self._hold.packet(held, now)
        is_answered = held.kind == MessageKind.HELD_SERVER_HELLO
        if is_answered and self._is_hopeless(held):
            out += self._hold.give_up(held.connection, now)
        return out

    def _quic(self, flows: "Flows", packet: abi.QuicPacket, now: float) -> list[Buffer]:
        """Take a packet of such a flow, as if the kernel had read it."""
        flow, pids = packet.flow, (packet.sender_pid, packet.receiver_pid)
        if flow not in flows and not self._marks.has_quic(flow):
            return [packet.block]  # not all that follow will come here
        seen = flows.see(flow, packet.datagram, from_client=packet.from_client)
        random, out = seen.client_random, list[Buffer]()
        if random and seen.is_new:
            out += self._hello(abi.HelloMessage(flow, random, *pids), now)
        if not random or not seen.kind:
            return [*out, packet.block]
        number = abi.connection_id(random)
        kind = MessageKind.HELD_END if packet.is_end else seen.kind
        held = abi.HeldPacket(number, kind, packet.block, *pids)
        return out + self._held(held, now)

    def _hello(self, hello: abi.HelloMessage, now: float) -> list[Buffer]:
        may_get_secrets = self._may_get_secrets(hello)
        return self._hold.hello(
            hello.flow, hello.client_random, now, may_get_secrets=may_get_secrets
        )

    def _may_get_secrets(self, hello: abi.HelloMessage) -> bool:
        """Return whether a process at an end of the connection may give its secrets."""
        if not self._prospects:
            return self._has_keylog
        number = abi.connection_id(hello.client_random)
        return self._prospects.hello(number, hello.sender_pid, hello.receiver_pid)

    def _is_hopeless(self, held: abi.HeldPacket) -> bool:
        """Return whether it was not worth to wait, as a ServerHello's sender shows."""
        if not self._prospects:
            return False
        ends = held.receiver_pid, held.sender_pid
        return not self._prospects.server_hello(held.connection, *ends)

    def _settled(self, verdict: Verdict) -> list[Buffer]:
        """Return the packets of connections whose processes give no secrets."""
        now = time.monotonic()
        hopeless = self._prospects.settle(*verdict) if self._prospects else []
        return [block for each in hopeless for block in self._hold.give_up(each, now)]

    def _secret(self, message: abi.SecretMessage, now: float) -> Secret | None:
        """Return the secret that a probe has read; None: there is none yet."""
        pid, number, label, random, content = message
        kind = sites.KINDS[number] if number < len(sites.KINDS) else ""
        if kind == "value":
            self._keys.value(pid, label, random, content, now)
            return None
        if kind == "line":
            secret = keylog.accept(label, random, content)
        else:  # "key"
            at = self._handles.offset(pid)
            handle = content[at:] if at is not None else b""
            secret = self._keys.secret(pid, label, random, handle, now)
        self._unreadable += secret is None
        return secret

    def _unmarked(self, out: list[Buffer]) -> list[Buffer]:
        """Let later packets of opened connections pass at once; return the blocks."""
        flows = self._quic_flows
        over = flows.take_over() if flows else []
        for flow in self._hold.take_unmarked() + over:
            self._marks.remove(flow)
            if flows:
                flows.forget(flow)
        return out


def _losses(lost_unreadable: int, lost_ring_full: int, lost_table_full: int) -> str:
    """Return a sentence about lost secrets, and what helps."""
    reasons = (
        (lost_ring_full, "found no room in the ring buffer (try a larger ring-size)"),
        (lost_unreadable, "could not be read in the program's memory"),
        (lost_table_full, "came from too many threads at once"),
    )
    total = lost_unreadable + lost_ring_full + lost_table_full
    why = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    return f"{total} TLS secrets were lost, so connections are not decrypted: {why}."
