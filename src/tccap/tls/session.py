"""TLS secrets in the stream: the engine's share.

The kernel tells of hellos, of packets that wait and, where libraries are probed, of
secrets; the front may send lines of a key log. All of it goes through the gate, and
what comes out goes into the stream.
"""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from tccap.bpf import features, progs
from tccap.errors import TccapError
from tccap.host import proc
from tccap.host.access import ALL, Caller
from tccap.ipc.plan import Plan
from tccap.ipc.status import TlsCounts, log, report
from tccap.stream import abi
from tccap.tls import keylog, probetable, sites
from tccap.tls.hold import Buffer, Gate
from tccap.tls.keyjoin import KeyJoin
from tccap.tls.keylog import Secret

if TYPE_CHECKING:
    from tccap.bpf.collection import Kernel
    from tccap.tls.tracing import Tracing

KEYLOG_LINE_MAX = 4096


class Tls:
    """All that concerns TLS in one capture; does nothing if the plan says so."""

    def __init__(self, plan: Plan, caller: Caller) -> None:
        may_see_all = caller.secrets == ALL
        if plan.tls == "all" and not may_see_all:
            raise TccapError("Only root can read the TLS secrets of all processes.")
        if plan.tls_libraries and not may_see_all:
            raise TccapError("Only root can name the TLS libraries to look into.")
        self._plan = plan
        self._probes = plan.tls != "off" and _can_tell_users()
        self._is_on = self._probes or plan.keylog
        # Whom root chooses by a filter need not be root's own processes.
        chosen = plan.filters_processes and may_see_all
        self._any_user = plan.tls == "all" or chosen
        self._user = caller.own
        self._gate = Gate(plan.tls_wait_ms / 1000)
        self._keys = KeyJoin()
        self._tracing: Tracing | None = None
        self._rest_of_keys = b""
        self._unreadable = 0

    # What the BPF programs are made of.

    def defines(self) -> dict[str, int | str]:
        """Return the -D definitions that concern TLS."""
        return {
            "TLS": int(self._is_on),
            "TLS_ANY_USER": int(self._any_user),
            "TLS_USER": self._user,
        }

    def sources(self) -> tuple[str, ...]:
        """Return the files of bpf/ that concern TLS."""
        packets = ("tls/marks.c",) if self._is_on else ()
        return (*packets, "tls/secret.c") if self._probes else packets

    def c_text(self) -> str:
        """Return what is added to those files."""
        return probetable.slot_programs() if self._probes else ""

    @property
    def sets_probes(self) -> bool:
        """Tell whether probes are set while the capture runs."""
        return self._probes

    # Running.

    def start(self, kernel: "Kernel") -> None:
        """Begin to look for libraries; in a thread, as the finder takes its time."""
        self._kernel = kernel
        if not self._probes:
            return
        # Slow to import, and not needed before.
        from tccap.tls.tracing import Tracing  # noqa: PLC0415
        from tccap.tls.uprobes import TAIL, Uprobes  # noqa: PLC0415

        def probes() -> Uprobes:
            tail, program = TAIL
            kernel.fill(tail, {0: kernel.program(program, progs.KPROBE)})
            return Uprobes(kernel.program, kernel.table("tls_sites"))

        self._tracing = Tracing(probes, self._wants, self._plan.tls_libraries)
        self._tracing.start()

    def answer(self, message: bytes) -> list[Buffer]:
        """Return what a message from the kernel leads to."""
        now = time.monotonic()
        kind = message[-1]
        if kind == abi.HELLO:
            hello = abi.HelloMessage.parse(message)
            hopeful = self._is_hopeful(hello)
            out = self._gate.hello(
                hello.flow, hello.client_random, now, hopeful=hopeful
            )
        elif kind == abi.SECRET:
            secret = self._secret(abi.SecretMessage.parse(message), now)
            out = self._gate.secret(secret, now) if secret else []
        elif abi.is_held_packet(message):
            out = self._gate.packet(abi.HeldPacket.parse(message), now)
        else:
            raise TccapError("The kernel sent a message that is not known.")
        self._unmark()
        return out

    def read_keys(self, text: bytes) -> list[Buffer]:
        """Take a piece of a key log, from the front."""
        *lines, self._rest_of_keys = (self._rest_of_keys + text).split(b"\n")
        self._rest_of_keys = self._rest_of_keys[-KEYLOG_LINE_MAX:]
        out: list[Buffer] = []
        for secret in filter(None, map(keylog.parse_line, lines)):
            out += self._gate.secret(secret, time.monotonic())
        self._unmark()
        return out

    @property
    def patience_s(self) -> float | None:
        """Return after how long `expire` wants to be called; None: never."""
        return self._gate.patience_s(time.monotonic())

    def expire(self) -> list[Buffer]:
        """Return what has waited long enough."""
        out = self._gate.expire(time.monotonic())
        self._unmark()
        return out

    # The end.

    def finish(self) -> list[Buffer]:
        """Return all that still waits."""
        return self._gate.finish(time.monotonic())

    def close(self) -> None:
        """Detach the probes, and say what there was."""
        if self._tracing:
            self._tracing.close()
        if not self._is_on:
            return
        counts = self._gate.counts()
        report(TlsCounts(asdict(counts) | {"unreadable": self._unreadable}))
        if counts.crowded_out:
            log(
                "warning",
                f"{counts.crowded_out} TLS connections are not decrypted: more packets "
                "waited for secrets than there is room for.",
            )

    # Inside.

    def _secret(self, told: abi.SecretMessage, now: float) -> Secret | None:
        """Return the secret that a probe has told of; None: there is none yet."""
        pid, kind, label, random, content = told
        if sites.KINDS[kind] == "value":
            self._keys.value(pid, label, random, content, now)
            return None
        if sites.KINDS[kind] == "line":
            secret = keylog.accept(label, random, content)
        else:
            at = self._tracing.handle_at if self._tracing else None
            handle = content[at:] if at is not None else b""
            secret = self._keys.secret(pid, label, random, handle, now)
        self._unreadable += secret is None
        return secret

    def _is_hopeful(self, hello: abi.HelloMessage) -> bool:
        """Tell whether a process at one of the ends may give the secrets."""
        if self._plan.keylog or not self._tracing:
            return self._plan.keylog
        here = {hello.sender_pid, hello.receiver_pid} - {abi.ELSEWHERE}
        return any(not pid or self._tracing.may_trace(pid) for pid in here)

    def _wants(self, pid: int) -> bool:
        """Tell whether a process may be traced; bpf/tls/secret.c has the last word."""
        return self._any_user or proc.uids(pid) == {self._user}

    def _unmark(self) -> None:
        flows = self._gate.take_unmarked()
        if flows:
            self._kernel.forget_flows(flows)


def _can_tell_users() -> bool:
    """Tell whether the probes will know whose processes they are in."""
    if not features.has_btf():
        log("warning", "The kernel has no BTF: TLS secrets are not read.")
        return False
    return True
