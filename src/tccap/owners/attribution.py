"""Finding the process of each packet: which way, and the engine's share in it.

The kernel does the work (bpf/owners/owner.c tells how). The engine chooses the way
that this kernel has, starts it without a gap (hooks first, then the sockets
that are there already), keeps the host's addresses current, and answers a
message about a new process with its Process Information Block and, for a full
label, with what /proc knows.
"""

import contextlib
import ctypes
import time
from collections.abc import Container
from functools import cached_property

from tccap.bpf import btf, btfattach, features
from tccap.bpf.collection import Kernel, undisturbed
from tccap.bpf.uapi import AttachType, ProgType
from tccap.errors import TccapError
from tccap.host import proc
from tccap.host.access import Caller
from tccap.host.proc import Details
from tccap.ipc.plan import Plan
from tccap.ipc.status import log
from tccap.owners import descent, hooks, label, socket_iterator, tracepoints
from tccap.owners.addresses import LocalAddresses
from tccap.owners.socket_iterator import Seeding
from tccap.stream import abi
from tccap.stream.abi import ProcessMessage
from tccap.stream.blocks import Section

# Of its time, the engine gives this share to looking for owners by polling.
POLLING_SHARE = 0.05
POLLING_PAUSE_S = 0.005
FILTERED_POLLING_S = 0.02


class Attribution:
    """Owners of sockets, in the way that suits the plan and the kernel."""

    def __init__(self, plan: Plan, caller: Caller, *, filter_needs_it: bool) -> None:
        self._plan = plan
        self._caller = caller
        self._filters = plan.filters_processes or filter_needs_it
        self._way = self._choose()
        self._polled_at = 0.0
        self._polling_pause_s = POLLING_PAUSE_S

    def _choose(self) -> str:
        """Return ``hooks``, ``tracepoints`` or ``off``."""
        if self._plan.label == "off" and not self._filters:
            return "off"
        if not features.has_btf():
            return self._without_btf()
        if not features.has_kprobes():
            return "tracepoints"
        return "hooks"

    def _without_btf(self) -> str:
        reason = "The kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
        if self._filters:
            raise TccapError(f"{reason}: packets cannot be chosen by process.")
        log("warning", f"{reason}: packets are captured without their processes.")
        return "off"

    @property
    def finds_owners(self) -> bool:
        """Tell whether packets get their processes at all."""
        return self._way != "off"

    def defines(self) -> dict[str, int | str]:
        """Return the -D definitions of the BPF programs that concern owners."""
        plan, found = self._plan, self.finds_owners
        kernel_facts: dict[str, int | str] = {}
        if found:
            kernel_facts |= _seeding_defines()
            kernel_facts["FENTRY"] = int(bool(self._fentry_ids))
        return kernel_facts | {
            "ATTRIBUTION": int(found),
            "LABELS": int(found and plan.label != "off"),
            "LABEL_TIDS": int(plan.label == "full"),
            "LABEL_MAX": self._label_max,
            "HOOKS": int(self._way != "tracepoints"),
            "CALLERS": int(self._notes_callers),
            "SOCKETS": plan.sockets if found else 1,
            "PROCESSES": plan.processes if found else 1,
            "FILTER_PIDS": int(bool(plan.pids)),
            "FILTER_UIDS": int(bool(plan.uids)),
            "FILTER_COMMS": int(bool(plan.comms)),
            "FILTER_PROCESSES": int(plan.filters_processes),
            "FOLLOW_CHILDREN": int(plan.children),
        }

    def sources(self) -> tuple[str, ...]:
        """Return the files of bpf/ that the programs are made of, in order."""
        ways = {
            "hooks": ("owners/known.c", "owners/hooks.c", "owners/seed.c"),
            "tracepoints": (
                "owners/known.c",
                "owners/held.c",
                "owners/tracepoints.c",
                "owners/seed.c",
            ),
            "off": (),
        }
        caller = ("owners/caller.c",) if self._notes_callers else ()
        owners = (
            "owners/process.c",
            "owners/recent.c",
            "owners/owner.c",
            *ways[self._way],
        )
        return (*owners, "packet/parse.c", *caller, "owners/lookup.c")

    def start(self, kernel: Kernel, section: Section) -> None:
        """Know the owners from here on; call it before packets are taken."""
        self._section = section
        self._kernel = kernel
        self._processes = kernel.table("processes")
        self._filter(kernel)
        self._addresses = LocalAddresses(kernel)
        self.refresh_addresses()
        kernel.fill("own_netns", {0: features.own_netns()})
        if self._way == "hooks":
            tails, recorder = hooks.TAIL
            kernel.fill(tails, {0: kernel.program(recorder, ProgType.KPROBE)})
            hooks.attach(
                kernel.program,
                self._functions,
                self._at_entry if self._fentry_ids else None,
                follow_children=self._plan.children,
            )
        elif self._way == "tracepoints":
            lacking = tracepoints.attach(self._at_tracepoint)
            if not self._notes_callers:
                lacking.append("the task that sends")
            self._warn(lacking)
        if self.finds_owners:
            self._seeding = Seeding(
                kernel.instructions(socket_iterator.PROGRAM),
                btf.functions(socket_iterator.TARGET).get(socket_iterator.TARGET, 0),
                kernel.table("seed_round"),
            )
            self._seed()
        if self._way == "tracepoints":
            self._seed()  # one look alone cannot tell who has a socket alone

    @cached_property
    def _functions(self) -> Container[str]:
        """Those functions that hooks can be at."""
        return features.symbols(*hooks.FUNCTIONS)

    @cached_property
    def _notes_callers(self) -> bool:
        """Whether the classifier can tell by the current task who sends."""
        return self._way == "tracepoints" and features.tells_classifiers_the_task()

    @cached_property
    def _fentry_ids(self) -> dict[str, int]:
        """The numbers of functions with fentry programs; empty: kprobes there."""
        if self._way != "hooks":
            return {}
        wanted = hooks.in_softirq(self._functions)
        ids = btf.functions(*wanted)
        works = len(ids) == len(wanted) and btfattach.is_supported(
            AttachType.TRACE_FENTRY, ids[wanted[0]]
        )
        return ids if works else {}

    def _at_entry(self, program: str, function: str) -> None:
        instructions = self._kernel.instructions(program)
        number = self._fentry_ids[function]
        btfattach.attach(AttachType.TRACE_FENTRY, number, program, instructions)

    def _at_tracepoint(self, program: str, tracepoint: str) -> bool:
        """Attach a program; tell whether the kernel took it."""
        number = btf.tracepoint(tracepoint)
        instructions = self._kernel.instructions(program)
        try:
            btfattach.attach(AttachType.TRACE_RAW_TP, number, program, instructions)
        except OSError as error:
            log("debug", f"No program at the tracepoint {tracepoint}: {error}.")
            return False
        return True

    def _warn(self, lacking: list[str]) -> None:
        """Say what cannot be known without kprobes, and without what else."""
        also = f", without {', '.join(lacking)}" if lacking else ""
        log(
            "warning",
            f"The kernel has no kprobes: processes are found by other means{also}, "
            "and some packets have no label; docs/limitations.md says which.",
        )

    def refresh_addresses(self) -> None:
        """Heed that addresses of this host have come or gone."""
        if self.finds_owners:
            self._addresses.refresh()

    def answer(self, message: bytes) -> bytes:
        """Return the block that a message from the kernel leads to."""
        seen = ProcessMessage.parse(message)
        number, block = self._section.describe_process(seen.pid, seen.comm)
        text = self._full_label(seen) if self._plan.label == "full" else b""
        with undisturbed(), contextlib.suppress(KeyError):  # forgotten: too many
            self._complete(seen, number, text)
            self._kernel.tables_changed()
        return block

    def _complete(self, seen: ProcessMessage, number: int, text: bytes) -> None:
        """Add to what the kernel knows of a process; KeyError: nothing any more.

        All of it is read and written, and the kernel may write in between: then the
        message that tells of it finds what is older, and is the end of that.
        """
        key = self._processes.Key(seen.start_ns, seen.pid, 0)
        process = self._processes[key]
        if process.version > seen.version:
            return  # there is a message on its way
        if process.version < seen.version:
            del self._processes[key]  # its next use of a socket records it again
            return
        process.block_number = number + 1
        if text:
            label_field = type(process).label
            ctypes.memset(
                ctypes.addressof(process) + label_field.offset, 0, label_field.size
            )
            process.label, process.label_len = text, len(text)
        self._processes[key] = process

    @property
    def patience_s(self) -> float | None:
        """Return after how long `poll` wants to be called; None: never.

        Packets that a process filter holds back wake nobody, so that with such
        a filter only the clock finds the sockets of new processes.
        """
        if self._way == "tracepoints" and self._filters:
            return max(FILTERED_POLLING_S, self._polling_pause_s)
        return None

    def poll(self) -> None:
        """Look for new sockets, if that is the way and it is time to."""
        if self._way != "tracepoints":
            return
        started = time.monotonic()
        if started < self._polled_at + self._polling_pause_s:
            return
        self._seed()
        self._polled_at = time.monotonic()
        took_s = self._polled_at - started
        self._polling_pause_s = max(POLLING_PAUSE_S, took_s / POLLING_SHARE)

    def _seed(self) -> None:
        """Look for sockets; whether a process is wanted must be known before."""
        self._want_descendants()
        self._seeding.run()

    def _want_descendants(self) -> None:
        if self._plan.children:
            self._kernel.fill("old_descendants", descent.descendants(self._plan))

    @property
    def _label_max(self) -> int:
        full = self._plan.label == "full"
        return abi.LABEL_LEN_FULL if full else abi.LABEL_LEN_SHORT

    def _full_label(self, seen: ProcessMessage) -> bytes:
        short = label.basic(seen.pid, seen.comm, seen.euid)
        details = self._details(seen)
        return label.full(short, details, self._label_max) if details else short

    def _details(self, seen: ProcessMessage) -> Details | None:
        """Return what /proc tells, if the caller may know it before and after."""
        if not self._caller.sees_details_of(proc.uids(seen.pid)):
            return None
        details = proc.details(seen.pid, seen.start_ns)
        still = self._caller.sees_details_of(proc.uids(seen.pid))
        return details if still else None

    def _filter(self, kernel: Kernel) -> None:
        """Write the process filter into the kernel's tables."""
        plan = self._plan
        kernel.fill("wanted_pids", {p: proc.start_ticks(p) or 0 for p in plan.pids})
        kernel.fill("wanted_uids", dict.fromkeys(plan.uids, 1))
        comms = [(comm.encode(errors="surrogateescape"),) for comm in plan.comms]
        kernel.fill("wanted_comms", dict.fromkeys(comms, 1))
        self._want_descendants()


def _seeding_defines() -> dict[str, int | str]:
    """Return the definitions that bpf/owners/seed.c needs."""
    if btf.functions("bpf_sock_from_file"):
        return {"HAS_SOCK_FROM_FILE": 1, "SOCKET_FILE_OPS": 0}
    address = features.symbols("socket_file_ops").get("socket_file_ops")
    if not address:
        raise TccapError("/proc/kallsyms hides addresses: processes cannot be told.")
    return {"HAS_SOCK_FROM_FILE": 0, "SOCKET_FILE_OPS": f"{address:#x}ULL"}
