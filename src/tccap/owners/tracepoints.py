"""Which raw tracepoints find users of sockets where there are no kprobes.

The programs are those of bpf/owners/tracepoints.c and process_events.c. Where a kernel
lacks a tracepoint, polling finds the same later.
"""

from tccap.bpf import btf, btfattach
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import AttachType
from tccap.ipc.status import log

TRACEPOINTS = {
    "inet_sock_set_state": "on_socket_state",
    "tcp_sendmsg_locked": "on_socket_use",  # Linux 6.17
    "sock_send_length": "on_socket_use",  # Linux 6.3
    "sock_recv_length": "on_socket_receive",
    "tcp_rcv_space_adjust": "on_tcp_receive",
    "task_rename": "on_new_identity",
    "sched_process_exec": "on_new_identity",
    "sched_process_exit": "on_process_exit",
    "sched_process_fork": "on_process_fork",
    "cgroup_mkdir": "on_cgroup_mkdir",
    "cgroup_attach_task": "on_cgroup_attach",
}


def attach(collection: Collection) -> list[str]:
    """Attach all programs; return the tracepoints where that failed."""
    wanted = TRACEPOINTS.items()
    return [name for name, program in wanted if not _attach(collection, program, name)]


def _attach(collection: Collection, program: str, tracepoint: str) -> bool:
    """Attach a program; return whether the kernel took it."""
    number = btf.tracepoint(tracepoint)
    instructions = collection.instructions(program)
    try:
        btfattach.attach(AttachType.TRACE_RAW_TP, number, program, instructions)
    except OSError as error:
        log("debug", f"No program at the tracepoint {tracepoint}: {error}.")
        return False
    return True
