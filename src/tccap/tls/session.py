"""TLS secrets in the stream, while a capture runs.

The kernel sends ClientHellos, packets that wait and, where libraries are probed,
secrets. The front may send lines of a key log. All of it goes through `hold`, which
returns what to write into the stream.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict

from tccap.bpf.maps import Map
from tccap.host.cpus import not_preempted
from tccap.ipc.channel import HandlesAt, MayTrace, Message, Verdict
from tccap.ipc.plan import Plan
from tccap.ipc.status import TlsCounts, log, report
from tccap.stream import abi
from tccap.stream.abi import MessageKind
from tccap.tls import keylog, sites
from tccap.tls.handles import Handles
from tccap.tls.hold import Buffer, Hold
from tccap.tls.keyjoin import KeyJoin
from tccap.tls.keylog import Secret
from tccap.tls.pending import Pending

KEYLOG_LINE_MAX = 4096


class Tls:
    """Holds the packets of TLS connections until their secrets are written.

    ``marks`` is the kernel's map of the connections whose packets wait; ``ask`` sends
    a question about a process to the engine, None where only a key log gives secrets.
    """

    kinds = frozenset(
        {
            MessageKind.HELLO,
            MessageKind.SECRET,
            MessageKind.HELD,
            MessageKind.HELD_SERVER_HELLO,
            MessageKind.HELD_END,
        }
    )

    hears = frozenset({Verdict, HandlesAt})

    def __init__(
        self, plan: Plan, marks: Map, ask: Callable[[Message], None] | None
    ) -> None:
        self._has_keylog = plan.keylog
        self._marks = marks
        self._ask = ask
        self._handles = Handles()
        self._hold = Hold(plan.tls_wait_ms / 1000)
        self._keys = KeyJoin()
        self._pending = Pending()
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
            secret = self._secret(abi.SecretMessage.parse(message), now)
            return self._unmarked(self._hold.secret(secret, now) if secret else [])
        held = abi.HeldPacket.parse(message)
        return self._unmarked(self._hold.packet(held, now))

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
            now = time.monotonic()
            hopeless = self._pending.settle(message.pid, may_give=message.may_give)
            for client_random in hopeless:
                out += self._hold.give_up(client_random, now)
        return self._unmarked(out)

    @property
    def timeout_s(self) -> float | None:
        """Return after how long `poll` has to be called; None: never."""
        return self._hold.timeout_s(time.monotonic())

    def poll(self) -> list[Buffer]:
        """Return the packets that have waited long enough."""
        return self._unmarked(self._hold.expire(time.monotonic()))

    def finish(self) -> list[Buffer]:
        """Return all packets that still wait."""
        return self._hold.finish(time.monotonic())

    def counts(self) -> dict[str, int]:
        """Return nothing: `close` reports what there was."""
        return {}

    def close(self) -> None:
        """Report what there was."""
        counts = self._hold.counts()
        report(TlsCounts(asdict(counts) | {"unreadable": self._unreadable}))
        if counts.evicted:
            log(
                "warning",
                f"{counts.evicted} TLS connections are not decrypted: more packets "
                "waited for secrets than there is room for.",
            )

    def _hello(self, hello: abi.HelloMessage, now: float) -> list[Buffer]:
        may_get_secrets = self._may_get_secrets(hello)
        return self._hold.hello(
            hello.flow, hello.client_random, now, may_get_secrets=may_get_secrets
        )

    def _may_get_secrets(self, hello: abi.HelloMessage) -> bool:
        """Return whether a process at one of the endpoints may give the secrets."""
        if self._has_keylog or not self._ask:
            return self._has_keylog
        here = {hello.sender_pid, hello.receiver_pid} - {abi.ELSEWHERE}
        if here and 0 not in here:  # 0 may be any process
            self._pending.add(hello.client_random, set(here))
            for pid in here:
                self._ask(MayTrace(pid))
        return bool(here)

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
        """Let later packets of opened connections pass at once; return the blocks.

        A flow is a struct tls_flow, the key of the connection's mark.
        """
        flows = self._hold.take_unmarked()
        with not_preempted() if flows else contextlib.nullcontext():
            for flow in flows:
                with contextlib.suppress(KeyError):
                    del self._marks[self._marks.Key.from_buffer_copy(flow)]
        return out
