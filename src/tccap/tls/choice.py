"""Whether packets wait for TLS secrets, and whose secrets: chosen from the Plan."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from tccap.bpf import btf, features
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.objects import MapSize
from tccap.bpf.patch import Patches
from tccap.bpf.uapi import ProgType
from tccap.errors import TccapError
from tccap.host import chosen, ownership
from tccap.host.access import ALL, OWN, Caller
from tccap.ipc.plan import Plan
from tccap.ipc.status import log
from tccap.stream.programoptions import Option

if TYPE_CHECKING:
    from tccap.ipc.channel import Message
    from tccap.stream.blocks import Section
    from tccap.tls.flows import Flows
    from tccap.tls.session import Tls
    from tccap.tls.tracing import Tracing

_MARKS = 16384  # connections that can be marked at a time


class TlsChoice:
    """What the Plan says of TLS; TccapError where the caller may not have that."""

    # What starts is slow to import, and a thread: the capture does not wait for it.
    starts_last = True

    def __init__(self, plan: Plan, caller: Caller) -> None:
        may_see_all = caller.secrets == ALL
        if plan.tls == "all" and not may_see_all:
            raise TccapError("Only root can read the TLS secrets of all processes.")
        if plan.tls_libraries and not may_see_all:
            raise TccapError("Only root can name the TLS libraries to look into.")
        self._plan = plan
        self._caller = caller
        # The processes that root chooses by a filter need not be root's own.
        filters = plan.filters_processes and may_see_all
        self._any_user = plan.tls == "all" or filters
        self.sets_probes = plan.tls != "off" and self._may_trace()
        self._reads_quic = importlib.util.find_spec("cryptography") is not None
        if self._is_on and not self._reads_quic:
            log(
                "info",
                "QUIC and DTLS are not decrypted: the Python package cryptography, "
                "which install.sh gets from PyPI, is missing.",
            )

    @property
    def code(self) -> Code:
        """What the programs need for TLS."""
        can_probe = features.has_btf()
        marks = MapSize(_MARKS if self._is_on else 1)
        return Code(
            sources=("tls/secret.c",) if can_probe else (),
            reads_kernel=can_probe,
            patches=Patches(self._numbers()),
            sizes={"tls_marks": marks, "quic_marks": marks},
        )

    def _numbers(self) -> dict[int, int]:
        return {
            Option.TLS: self._is_on,
            Option.QUIC: self._is_on and self._reads_quic,
            Option.TLS_ANY_USER: self._any_user,
            Option.TLS_USER: self._caller.own,
            Option.TLS_PTRACE_RULE: self._caller.secrets == OWN,
            Option.TLS_GROUP: self._caller.gid,
            Option.TLS_USER_NAMESPACE: ownership.user_namespace(),
            Option.TLS_SLOT: 0,  # each program that is probed with has its own
        }

    def carry(
        self,
        collection: Collection,
        _section: "Section",
        ask: "Callable[[Message], None]",
    ) -> "Tls | None":
        """Begin to hold packets."""
        if not self._is_on:
            return None
        from tccap.tls.marks import Marks
        from tccap.tls.session import Tls

        maps = ("tls_marks", "quic_marks", "quic_counts")
        marks = Marks(*map(collection.table, maps))
        flows = self._flows()
        if not self.sets_probes:
            return Tls(self._plan, marks, flows)
        return Tls(self._plan, marks, flows, collection.table("tls_lost"), ask)

    def _flows(self) -> "Flows | None":
        if not self._reads_quic:
            return None
        from tccap.tls.flows import Flows

        return Flows()

    @property
    def _is_on(self) -> bool:
        return self.sets_probes or self._plan.keylog

    def serve(self, collection: Collection) -> "Tracing | None":
        """Look for libraries in a thread, as the finder takes its time."""
        if not self.sets_probes:
            return None
        from tccap.tls.newprograms import NewPrograms
        from tccap.tls.tracing import Tracing
        from tccap.tls.uprobes import SLOT_PROGRAM, TAIL, Uprobes

        def load(slot: int) -> int:
            numbers: dict[int, int] = {Option.TLS_SLOT: slot}
            return collection.variant(SLOT_PROGRAM, ProgType.KPROBE, numbers)

        def make() -> tuple[Uprobes, NewPrograms]:
            tail, program = TAIL
            collection.fill(tail, {0: collection.program(program, ProgType.KPROBE)})
            maps = collection.table("tls_sites"), collection.table("tls_labels")
            return Uprobes(load, *maps), NewPrograms(collection)

        tracing = Tracing(
            make,
            self._wants,
            self._plan.tls_libraries,
            shows_paths=self._caller.secrets == ALL,
            is_surely_traced=self._surely_traces,
        )
        tracing.start()
        return tracing

    def _wants(self, pid: int) -> bool:
        """Return whether to trace a process; bpf/tls/secret.c has the last word."""
        return self._any_user or self._caller.owns(pid)

    def _surely_traces(self, pid: int) -> bool:
        """Return whether a process that is wanted is traced in any case.

        The kernel alone knows those that are chosen by their place or their ancestors.
        """
        return not self._plan.places and chosen.fits(pid, self._plan)

    def _may_trace(self) -> bool:
        """Return whether secrets can be read for the caller; the log says why not."""
        if not _users_are_known():
            return False
        reason = _why_not_own() if self._caller.secrets == OWN else ""
        if reason:
            log("warning", f"TLS secrets are not read: {reason}")
        return not reason


def _why_not_own() -> str:
    """Return why an ordinary user's secrets cannot be told apart; empty: they can."""
    if ownership.is_only_roots():
        return (
            "only root may trace processes here; ask an administrator about "
            f"{ownership.PTRACE_SCOPE}."
        )
    if not btf.knows_dumpable():
        return (
            "this kernel does not show which processes are dumpable; capture as root."
        )
    return ""


def _users_are_known() -> bool:
    """Return whether the probes will know whose processes they are in."""
    if not features.has_btf():
        log("warning", "The kernel has no BTF: TLS secrets are not read.")
        return False
    return True
