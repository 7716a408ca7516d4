"""The processes that a process filter wants, for the kernel's tables.

Which cgroups it wants is in a table of its own (cgroups.py).

Later descendants of wanted processes are found when they are forked
(bpf/owners/process_events.c), or by looking again.
"""

from collections.abc import Callable

from tccap.bpf.collection import Collection
from tccap.host import chosen, proc
from tccap.ipc.plan import Plan


def fill(plan: Plan, collection: Collection) -> None:
    """Write the process filter into the kernel's tables."""
    pids = {pid: proc.start_ticks(pid) or 0 for pid in plan.pids}
    comms = [(comm.encode(errors="surrogateescape"),) for comm in plan.comms]
    collection.fill("wanted_pids", pids)
    collection.fill("wanted_uids", dict.fromkeys(plan.uids, 1))
    collection.fill("wanted_comms", dict.fromkeys(comms, 1))


def fill_descendants(
    plan: Plan, collection: Collection, is_in_place: Callable[[int], bool]
) -> None:
    """Write the present descendants of wanted processes, if the Plan wants them.

    ``is_in_place`` says whether a process is in a container, pod and unit of the Plan.
    """
    if plan.children:
        collection.fill("old_descendants", _descendants(plan, is_in_place))


def _descendants(plan: Plan, is_in_place: Callable[[int], bool]) -> dict[int, int]:
    """Return the start, in clock ticks, of all descendants by their pids."""
    parents = proc.parents()
    wanted = {pid for pid in parents if chosen.fits(pid, plan) and is_in_place(pid)}
    found = {pid for pid in parents if wanted & _ancestors(pid, parents)}
    starts = {pid: proc.start_ticks(pid) for pid in found}
    return {pid: ticks for pid, ticks in starts.items() if ticks is not None}


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.add(pid)
    return found
