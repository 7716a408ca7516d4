"""Which processes the Plan's process filter chooses, as /proc shows them."""

from tccap.host import proc
from tccap.ipc.plan import Plan


def fits(pid: int, plan: Plan) -> bool:
    """Return whether a process has one of the Plan's pids, users and names.

    Its container, pod and unit are not looked at. One that has ended has no user and no
    name.
    """
    return (
        (not plan.pids or pid in plan.pids)
        and (not plan.uids or proc.euid(pid) in plan.uids)
        and (not plan.comms or proc.comm(pid) in plan.comms)
    )
