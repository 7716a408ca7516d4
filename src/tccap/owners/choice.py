"""How the processes of packets are found: chosen from the Plan and the kernel.

The kernel does the work (bpf/README.md says how). There are two ways. With
``hooks``, kprobes record which process uses which socket. Without kprobes,
``tracepoints`` record a part of that, and the socket iterator looks for the rest again
and again.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from tccap.bpf import btf, btfattach, features
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.objects import MapSize
from tccap.bpf.patch import Patches
from tccap.bpf.uapi import AttachType
from tccap.errors import TccapError
from tccap.host import cgroups
from tccap.host.access import ALL, Caller
from tccap.host.cgroups import Hierarchy
from tccap.ipc.plan import Plan
from tccap.ipc.status import log
from tccap.owners import hooks, label, tracepoints, wanted
from tccap.owners.addresses import LocalAddresses
from tccap.owners.cgroups import Cgroups, Chosen, Words
from tccap.owners.container_addresses import ContainerAddresses
from tccap.owners.occupied import Insiders
from tccap.owners.owners import Owners
from tccap.owners.polling import Polling
from tccap.owners.processes import FullLabels, Processes
from tccap.owners.search import OwnersService, SocketSearch
from tccap.stream.programoptions import Option

if TYPE_CHECKING:
    from collections.abc import Callable

    from tccap.ipc.channel import Message
    from tccap.stream.blocks import Section

OFF, HOOKS, TRACEPOINTS = "off", "hooks", "tracepoints"
# Maps whose size the options give, and others that are large.
_OF_SOCKETS = ("owners", "timewaits", "closed", "passed_sockets")
_OF_PROCESSES = (
    *("processes", "completions", "descendants", "old_descendants"),
    "last_descriptors",
)
_NOTHING_CHOSEN = (
    "--inside needs to know which containers: choose some with --container, --pod, "
    "--namespace or --unit, or with these words in the capture filter."
)
_LARGE = ("cgroup_labels", "translated", "echoes", "fragmented")


class OwnersChoice:
    """Whether, and in which way, packets get their processes.

    The kernel is asked when an answer is first needed, which takes some milliseconds.
    TccapError where packets cannot be chosen by process although they have to be.
    """

    sets_probes = False
    starts_last = False

    def __init__(
        self,
        plan: Plan,
        caller: Caller,
        *,
        filter_needs_it: bool,
        place_words: Words = (),
    ) -> None:
        self._plan = plan
        self._caller = caller
        self._filters = plan.filters_processes or filter_needs_it
        self._chosen = Chosen(plan.places, place_words)
        if plan.inside and not (plan.places or place_words):
            raise TccapError(_NOTHING_CHOSEN)

    @cached_property
    def way(self) -> str:
        """HOOKS, TRACEPOINTS or OFF."""
        if self._plan.label == "off" and not self._filters:
            return OFF
        return self._without_btf() if self._means == OFF else self._means

    @cached_property
    def _means(self) -> str:
        """The way that there is on this kernel, whether it is taken or not."""
        if not features.has_btf():
            return OFF
        return HOOKS if features.has_kprobes() else TRACEPOINTS

    @cached_property
    def code(self) -> Code:
        """What the programs need to find owners."""
        can_find = self._means != OFF
        return Code(
            sources=self._sources() if can_find else (),
            defines={**(self._kernel_defines() if can_find else {}), **self._defines()},
            reads_kernel=can_find,
            patches=Patches(self._numbers()),
            sizes=self._sizes(),
        )

    def serve(self, collection: Collection) -> OwnersService | None:
        """Record owners from here on.

        Hooks come first and then the sockets that exist already, so that there is no
        gap.
        """
        if self.way == OFF:
            return None
        wanted.fill(self._plan, collection)
        tables = LocalAddresses(collection), ContainerAddresses(collection)
        for table in tables:
            table.refresh()
        places = Cgroups(collection, self._hierarchy, self._caller, self._chosen)
        self._attach(collection)
        places.learn_all()
        search = SocketSearch(self._plan, collection, places)
        search.run()
        if self.way != HOOKS:
            search.run()  # one pass alone cannot say who has a socket alone
        labels = FullLabels(self._plan, self._caller, collection)
        insiders = Insiders(places.chosen_processes, self._caller)
        return OwnersService(tables, places, search, labels, insiders)

    def carry(
        self,
        collection: Collection,
        section: "Section",
        ask: "Callable[[Message], None]",
    ) -> Owners | None:
        """Begin to answer."""
        if self.way == OFF:
            return None
        processes = Processes(self._plan, collection, section, ask)
        if self.way == HOOKS:
            return Owners(collection, processes)
        polling = Polling(ask, wakes_loop=self._filters)
        return Owners(collection, processes, polling)

    @cached_property
    def _hierarchy(self) -> Hierarchy:
        """The hierarchy of cgroups that names containers."""
        return cgroups.opened(cgroups.find())

    def _without_btf(self) -> str:
        reason = "The kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
        if self._filters:
            raise TccapError(f"{reason}: packets cannot be chosen by process.")
        log("warning", f"{reason}: packets are captured without their processes.")
        return OFF

    def _sources(self) -> tuple[str, ...]:
        common = (
            "owners/process_events.c",
            "owners/cgroup_events.c",
            "owners/socket_iterator.c",
        )
        return (*common, f"owners/{self._means}.c")

    def _defines(self) -> dict[str, int | str]:
        reads_kernel = self._means != OFF and features.classifiers_read_kernel()
        return {
            "LABEL_MAX": label.len_max(self._plan.label),
            "HOOKS": int(self._means != TRACEPOINTS),
            "CALLERS": int(self._sees_callers),
            "READS_KERNEL": int(reads_kernel),
        }

    def _numbers(self) -> dict[int, int]:
        plan, finds = self._plan, self.way != OFF
        return {
            Option.ATTRIBUTION: finds,
            Option.LABELS: finds and plan.label != "off",
            Option.LABEL_TIDS: plan.label == "full",
            Option.TIDS_ANY_USER: self._caller.details == ALL,
            Option.TIDS_USER: self._caller.uid,
            Option.FILTER_PIDS: bool(plan.pids),
            Option.FILTER_UIDS: bool(plan.uids),
            Option.FILTER_COMMS: bool(plan.comms),
            Option.FILTER_CGROUPS: bool(plan.places),
            Option.FILTER_PROCESSES: plan.filters_processes,
            Option.FOLLOW_CHILDREN: plan.children,
        }

    def _sizes(self) -> dict[str, MapSize]:
        if self.way == OFF:
            return dict.fromkeys((*_LARGE, *_OF_SOCKETS, *_OF_PROCESSES), MapSize(1))
        return {
            **dict.fromkeys(_OF_SOCKETS, MapSize(self._plan.sockets)),
            **dict.fromkeys(_OF_PROCESSES, MapSize(self._plan.processes)),
        }

    def _kernel_defines(self) -> dict[str, int | str]:
        controller = self._hierarchy.controller
        number = btf.enumerator("cgroup_subsys_id", f"{controller}_cgrp_id")
        return {
            **_socket_file_defines(),
            "FENTRY": int(bool(self._fentry_ids)),
            "CGROUP_SUBSYS": -1 if number is None else number,
            "CGROUP_HIERARCHY": self._hierarchy.number,
        }

    @cached_property
    def _functions(self) -> dict[str, int]:
        """The kernel's functions that hooks can be at."""
        return features.symbols(*hooks.FUNCTIONS)

    @cached_property
    def _sees_callers(self) -> bool:
        """Whether the classifier knows a packet's sender by the current task."""
        return self._means == TRACEPOINTS and features.classifiers_see_current_task()

    @cached_property
    def _fentry_ids(self) -> dict[str, int]:
        """BTF numbers of the functions with fentry programs; empty: kprobes there."""
        if self._means != HOOKS:
            return {}
        needed = hooks.with_fentry(self._functions, needed=True)
        ids = btf.functions(*hooks.with_fentry(self._functions, needed=False))
        works = ids.keys() >= set(needed) and btfattach.is_supported(
            AttachType.TRACE_FENTRY, ids[needed[0]]
        )
        return ids if works else {}

    def _attach(self, collection: Collection) -> None:
        if self.way == HOOKS:
            follow = self._plan.children
            kernel = hooks.KernelFunctions(self._functions, self._fentry_ids)
            hooks.attach(collection, kernel, follow_children=follow)
            return
        lacking = tracepoints.attach(collection)
        if not self._sees_callers:
            lacking.append("the task that sends")
        _warn(lacking)


def _warn(lacking: list[str]) -> None:
    """Report what cannot be known without kprobes, and without what else."""
    also = f", without {', '.join(lacking)}" if lacking else ""
    log(
        "warning",
        f"The kernel has no kprobes: processes are found by other means{also}, "
        "and some packets have no label; docs/limitations.md says which.",
    )


def _socket_file_defines() -> dict[str, int | str]:
    """Return the definitions by which the socket iterator knows a socket's file."""
    if btf.functions("bpf_sock_from_file"):
        return {"HAS_SOCK_FROM_FILE": 1, "SOCKET_FILE_OPS": 0}
    address = features.symbols("socket_file_ops").get("socket_file_ops")
    if not address:
        raise TccapError("/proc/kallsyms hides addresses: processes cannot be found.")
    return {"HAS_SOCK_FROM_FILE": 0, "SOCKET_FILE_OPS": f"{address:#x}ULL"}
